"""Recipe."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from screens.base import FtScreen


class RecipeScreen(FtScreen):
    """Recipe."""

    SCOPE = "recipe"
    CSS_PATH = "recipe.tcss"

    def body(self) -> Iterable[Widget]:
        yield Static("Recipe")
