"""Home."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from screens.base import FtScreen


class HomeScreen(FtScreen):
    """Home."""

    SCOPE = "home"
    CSS_PATH = "home.tcss"

    def body(self) -> Iterable[Widget]:
        yield Static("Home")
