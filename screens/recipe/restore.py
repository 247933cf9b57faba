"""Dialog that offers a recipe's text back that was not saved when an app ended."""

import time
from collections.abc import Iterable
from typing import ClassVar, Literal

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button

from engine.redaction import HIDDEN
from screens.format import place
from screens.recipe.unsaved import LeftBehind
from screens.widgets.dialog import Dialog

Answer = Literal["open", "discard", "later"]


class Restore(Dialog[Answer]):
    """Open it as a change that is not saved, discard it, or decide at the next start. The focus is on opening."""

    AUTO_FOCUS = "#open"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o,y", "answer('open')", "open it"),
        Binding("x", "answer('discard')", "discard it"),
        Binding("escape", "answer('later')", "later"),
        Binding("left,h", "app.focus_previous", show=False),
        Binding("right,l", "app.focus_next", show=False),
    ]

    def __init__(self, left: LeftBehind) -> None:
        what = place(left.path) if left.path else "a new recipe"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(left.changed))
        details = f"ft ended on {when} before they were saved."
        if HIDDEN in left.text:
            details += f" Passwords were not stored; {HIDDEN} stands in their place."
        super().__init__(f"Open unsaved changes of {what}?", details)

    def answers(self) -> Iterable[Widget]:
        yield Horizontal(
            Button("Open (o)", id="open", variant="primary"),
            Button("Later (esc)", id="later"),
            Button("Discard (x)", id="discard", variant="error"),
            id="answers",
        )

    def action_answer(self, answer: Answer) -> None:
        self.dismiss(answer)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        answers: dict[str | None, Answer] = {"open": "open", "discard": "discard"}
        self.dismiss(answers.get(event.button.id, "later"))
