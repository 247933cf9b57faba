"""The box in the middle in which the app asks something."""

from collections.abc import Iterable
from typing import Generic, TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer], Generic[Answer]):
    """A box in the middle with a question and its details."""

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog #box {
        width: 64; max-width: 90%; height: auto; max-height: 90%;
        padding: 1 2; background: $panel; border: round $primary;
    }
    Dialog #question { text-style: bold; }
    Dialog #details { margin-top: 1; color: $text-muted; max-height: 12; overflow-y: auto; }
    Dialog #answers { height: auto; margin-top: 1; align-horizontal: right; }
    Dialog Button { margin-left: 2; }
    """

    def __init__(self, question: str, details: str = "") -> None:
        super().__init__()
        self.question = question
        self.details = details

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(self.question, id="question", markup=False)
            if self.details:
                yield Static(self.details, id="details", markup=False)
            yield from self.answers()

    def answers(self) -> Iterable[Widget]:
        """Widgets below the question."""
        return ()
