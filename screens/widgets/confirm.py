"""The question before anything that cannot be undone."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static


class Confirm(ModalScreen[bool]):
    """Asks; the answer is True only for an explicit yes. The focus is on No, and escape means no."""

    DEFAULT_CSS = """
    Confirm { align: center middle; }
    Confirm #box {
        width: 64; max-width: 90%; height: auto; max-height: 90%;
        padding: 1 2; background: $panel; border: round $warning;
    }
    Confirm #question { text-style: bold; }
    Confirm #details { margin-top: 1; color: $text-muted; max-height: 12; overflow-y: auto; }
    Confirm #answers { height: auto; margin-top: 1; align-horizontal: right; }
    Confirm Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape", "answer(False)", "no"),
        Binding("left,right,h,l", "other", "other answer", show=False),
    ]

    def __init__(self, question: str, yes_label: str = "Yes", details: str = "") -> None:
        """`question` names the thing; `yes_label` says what will be done; `details` what that means."""
        super().__init__()
        self.question = question
        self.yes_label = yes_label
        self.details = details

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(self.question, id="question", markup=False)
            if self.details:
                yield Static(self.details, id="details", markup=False)
            with Horizontal(id="answers"):
                yield Button("No (n)", id="no", variant="primary")
                yield Button(f"{self.yes_label} (y)", id="yes", variant="error")

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def action_other(self) -> None:
        self.focus_next(Button)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
