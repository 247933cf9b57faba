"""Datasets."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from screens.base import FtScreen


class DatasetsScreen(FtScreen):
    """Datasets."""

    SCOPE = "datasets"
    CSS_PATH = "datasets.tcss"

    def body(self) -> Iterable[Widget]:
        yield Static("Datasets")
