"""Dialog about the runs that are at work when a person leaves the app."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

if TYPE_CHECKING:
    from engine.runs.index.index import RunSummary

Leaving = Literal["leave", "stop", "stay"]


class Leave(ModalScreen[Leaving]):
    """Leave it at work, stop it, or stay. Escape stays; the focus is on what harms nothing."""

    DEFAULT_CSS = """
    Leave { align: center middle; }
    Leave Vertical {
        width: 62; max-width: 94%; height: auto; padding: 1 2; background: $panel; border: round $primary;
    }
    Leave #question { text-style: bold; margin-bottom: 1; }
    Leave Button { width: 100%; margin-bottom: 1; }
    Leave #note { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "answer('leave')", "leave it at work"),
        Binding("x", "answer('stop')", "stop"),
        Binding("escape,s", "answer('stay')", "stay"),
        Binding("down,j", "app.focus_next", show=False),
        Binding("up,k", "app.focus_previous", show=False),
    ]

    def __init__(self, live: "Sequence[RunSummary]") -> None:
        super().__init__()
        self.live = live

    def compose(self) -> ComposeResult:
        one = len(self.live) == 1
        trains = all(run.kind == "train" for run in self.live)
        work, checkpoint = ("training", " with a checkpoint") if trains else ("at work", "")
        what = f"{self.live[0].name} is {work}" if one else f"{len(self.live)} runs are {work}"
        it = "it" if one else "them"
        goes_on = "Training continues" if trains else "It continues" if one else "They continue"
        with Vertical():
            yield Static(f"{what}. Leave ft?", id="question", markup=False)
            yield Button(f"Leave {it} {work} (l)", id="leave", variant="primary")
            yield Button(f"Stop {it}{checkpoint} (x)", id="stop", variant="warning")
            yield Button("Stay here (esc)", id="stay")
            yield Static(
                f"{goes_on} without the app; `ft` and `ft attach` find {it} again.",
                id="note",
                markup=False,
            )

    def on_mount(self) -> None:
        self.query_one("#leave", Button).focus()

    def action_answer(self, answer: Leaving) -> None:
        self.dismiss(answer)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        answers: dict[str | None, Leaving] = {"leave": "leave", "stop": "stop"}
        self.dismiss(answers.get(event.button.id, "stay"))
