"""Monitor."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from screens.base import FtScreen


class MonitorScreen(FtScreen):
    """Monitor."""

    SCOPE = "monitor"
    CSS_PATH = "monitor.tcss"

    def body(self) -> Iterable[Widget]:
        yield Static("Monitor")
