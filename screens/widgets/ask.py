"""Dialogs that ask for one line, hidden where it is a token, and for one key."""

from collections.abc import Iterable
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Input, Static


class Dialog(ModalScreen[str | None]):
    """A box in the middle with a question and what there is to say about it."""

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog #box {
        width: 64; max-width: 90%; height: auto; max-height: 90%;
        padding: 1 2; background: $panel; border: round $primary;
    }
    Dialog #question { text-style: bold; }
    Dialog #details { margin-top: 1; color: $text-muted; }
    Dialog #answers { height: auto; margin-top: 1; align-horizontal: right; }
    Dialog Input { margin-top: 1; }
    Dialog Button { margin-left: 2; }
    """

    def __init__(self, question: str, details: str) -> None:
        super().__init__()
        self.question = question
        self.details = details

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(self.question, id="question", markup=False)
            yield Static(self.details, id="details", markup=False)
            yield from self.answers()

    def answers(self) -> Iterable[Widget]:
        """What is below the question."""
        return ()


class Ask(Dialog):
    """Asks for a line of text; None where the person leaves. `hidden` shows dots only."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]

    def __init__(self, question: str, details: str, hidden: bool = False, label: str = "Set") -> None:
        super().__init__(question, details)
        self.hidden = hidden
        self.label = label

    def answers(self) -> Iterable[Widget]:
        yield Input(password=self.hidden, id="line")
        leave, set_ = Button("Leave (esc)", id="leave"), Button(self.label, id="set", variant="primary")
        yield Horizontal(leave, set_, id="answers")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Submitted)
    @on(Button.Pressed, "#set")
    def _answer(self) -> None:
        self.dismiss(self.query_one(Input).value.strip() or None)

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        self.dismiss(None)


class AskKey(Dialog):
    """Asks for one key, by Textual's name; None where the person leaves with escape."""

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self.dismiss(None if event.key == "escape" else event.key)
