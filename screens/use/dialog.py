"""Dialogs that start a job for a trained model: which one, and with which options."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, cast

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from engine.errors import FtError
from engine.runs.directory.run import Run
from engine.storage.disk_errors import explained
from screens.use.uses import USES, Option, Use
from screens.widgets.pick import Pick


class PickUse(Pick[Use]):
    """Choice of what to do with a trained model."""

    ENTER = "enter asks for its options"
    PLACEHOLDER = "evaluate, export, serve …"
    NOTHING = "Nothing has that name."

    def __init__(self, name: str) -> None:
        """`name` is the model's, for the heading."""
        super().__init__()
        self.HEADING = f"Use {name}"

    def fitting(self, query: str) -> Sequence[Use]:
        wanted = query.lower()
        fit = [use for use in USES if wanted in f"{use.name} {use.summary}".lower()]
        return sorted(fit, key=lambda use: not use.name.startswith(wanted))

    def line(self, choice: Use) -> Text:
        return Text.assemble((f"{choice.name:<10}", "bold"), choice.summary)


class Choice(Select[str], inherit_bindings=False):
    """One of a few values: left and right turn through them, space lists them; enter and the arrows up and down are the
    form's, as in its text fields."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "show_overlay", "list", show=False),
        Binding("left", "turn(-1)", "previous value", show=False),
        Binding("right", "turn(1)", "next value", show=False),
    ]

    def __init__(self, option: Option) -> None:
        super().__init__(
            [(choice, choice) for choice in option.choices],
            value=option.choices[0],
            allow_blank=False,
            compact=True,
            id=option.name,
        )
        self.choices = option.choices

    def action_turn(self, by: int) -> None:
        at = self.choices.index(str(self.value)) + by
        self.value = self.choices[at % len(self.choices)]


class UseForm(ModalScreen[Run | None]):
    """The options of a use. The answer is the new run, whose engine is not started yet; None if nothing is to be done.

    What is wrong with an option is shown below the options, which stay as they are.
    """

    DEFAULT_CSS = """
    UseForm { align: center middle; }
    UseForm #box {
        width: 84; max-width: 96%; height: auto; max-height: 90%;
        padding: 0 1; background: $panel; border: round $primary; border-title-style: bold;
    }
    UseForm VerticalScroll { height: auto; max-height: 14; }
    UseForm .option { height: 1; }
    UseForm .option Label { width: 16; }
    UseForm .option Input, UseForm .option Select { width: 1fr; }
    UseForm #help { height: auto; min-height: 2; max-height: 6; margin-top: 1; color: $text-muted; }
    UseForm #answers { height: auto; align-horizontal: right; }
    UseForm Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close"),
        Binding("enter", "start", "start"),
        Binding("down", "app.focus_next", "next", show=False),
        Binding("up", "app.focus_previous", "previous", show=False),
    ]

    class Made(Message):
        """The run is made, or it cannot be."""

        def __init__(self, outcome: Run | FtError) -> None:
            super().__init__()
            self.outcome = outcome

    def __init__(self, use: Use, reference: str, name: str) -> None:
        """`reference` is the model as `TrainedModel.find` takes it, `name` what a person calls it."""
        super().__init__()
        self.use = use
        self.reference = reference
        self.heading = f"{use.name} {name}"

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = Content(self.heading)
            box.border_subtitle = "enter starts it · ↑ ↓ option · ← → choice · esc closes"
            with VerticalScroll(can_focus=False):
                for option in self.use.options:
                    yield Horizontal(Label(option.name.replace("_", " ")), _field(option), classes="option")
            yield Static(self.use.summary, id="help", markup=False)
            with Horizontal(id="answers"):
                yield Button("Cancel (esc)", id="close")
                yield Button("Start", id="start", variant="primary")

    def on_descendant_focus(self) -> None:
        """Explain the option that has the focus."""
        here = self.focused
        option = next((option for option in self.use.options if here and here.id == option.name), None)
        if option is not None:
            self.query_one("#help", Static).update(option.help)

    @on(Input.Submitted)
    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        self._make(dict(self._values()))

    @on(Button.Pressed, "#close")
    def action_close(self) -> None:
        self.dismiss(None)

    def _values(self) -> Iterator[tuple[str, str]]:
        for option in self.use.options:
            field = self.query_one(f"#{option.name}")
            value = cast(Choice, field).value if option.choices else cast(Input, field).value
            yield option.name, str(value).strip()

    @work(thread=True, exclusive=True, group="make", exit_on_error=False)
    def _make(self, values: dict[str, str]) -> None:
        try:
            self.post_message(self.Made(self.use.create(self.reference, values)))
        except FtError as error:
            self.post_message(self.Made(error))
        except OSError as error:
            self.post_message(self.Made(explained(error)))

    def on_use_form_made(self, message: Made) -> None:
        if isinstance(message.outcome, Run):
            self.dismiss(message.outcome)
            return
        error = message.outcome
        self.query_one("#help", Static).update(
            Content.assemble((f"✖ {error.message}\n", "$text-error"), (error.hint, "$text-muted"))
        )


def _field(option: Option) -> Input | Choice:
    if option.choices:
        return Choice(option)
    return Input(placeholder=option.empty, compact=True, id=option.name)
