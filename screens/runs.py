"""Runs."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from screens.base import FtScreen


class RunsScreen(FtScreen):
    """Runs."""

    SCOPE = "runs"
    CSS_PATH = "runs.tcss"

    def body(self) -> Iterable[Widget]:
        yield Static("Runs")
