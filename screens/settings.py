"""Settings."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from screens.base import FtScreen


class SettingsScreen(FtScreen):
    """Settings."""

    SCOPE = "settings"
    CSS_PATH = "settings.tcss"

    def body(self) -> Iterable[Widget]:
        yield Static("Settings")
