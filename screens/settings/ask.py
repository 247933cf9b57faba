"""Dialogs that ask for one line, hidden where it is a token, and for one key."""

from collections.abc import Iterable
from typing import ClassVar

from textual import events, on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button, Input

from screens.widgets.dialog import Dialog


class Ask(Dialog[str | None]):
    """Asks for a line of text; None where the person leaves. `hidden` shows dots only; `exact` keeps blanks around."""

    DEFAULT_CSS = "Ask Input { margin-top: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]

    def __init__(
        self, question: str, details: str, hidden: bool = False, label: str = "Set", exact: bool = False
    ) -> None:
        super().__init__(question, details)
        self.exact = exact
        self.hidden = hidden
        self.label = label

    def answers(self) -> Iterable[Widget]:
        yield Input(password=self.hidden, id="line")
        leave, set_ = Button("Cancel (esc)", id="leave"), Button(self.label, id="set", variant="primary")
        yield Horizontal(leave, set_, id="answers")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Submitted)
    @on(Button.Pressed, "#set")
    def _answer(self) -> None:
        value = self.query_one(Input).value
        self.dismiss((value if self.exact else value.strip()) or None)

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        self.dismiss(None)


class AskKey(Dialog[str | None]):
    """Asks for one key, by Textual's name; None where the person leaves with escape."""

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self.dismiss(None if event.key == "escape" else event.key)
