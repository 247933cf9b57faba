"""Models."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from screens.base import FtScreen


class ModelsScreen(FtScreen):
    """Models."""

    SCOPE = "models"
    CSS_PATH = "models.tcss"

    def body(self) -> Iterable[Widget]:
        yield Static("Models")
