"""The question before anything that cannot be undone."""

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button

from screens.widgets.dialog import Dialog


class Confirm(Dialog[bool]):
    """Asks; the answer is True only for an explicit yes. The focus is on No, and escape means no."""

    DEFAULT_CSS = "Confirm #box { border: round $warning; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape", "answer(False)", "no"),
        Binding("left,right,h,l", "other", "other answer", show=False),
    ]

    def __init__(self, question: str, yes_label: str = "Yes", details: str = "") -> None:
        """`question` names the thing; `yes_label` says what will be done; `details` what that means."""
        super().__init__(question, details)
        self.yes_label = yes_label

    def answers(self) -> Iterable[Widget]:
        no = Button("No (n)", id="no", variant="primary")
        yes = Button(f"{self.yes_label} (y)", id="yes", variant="error")
        yield Horizontal(no, yes, id="answers")

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def action_other(self) -> None:
        self.focus_next(Button)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
