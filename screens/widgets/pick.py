"""A line to type in, over a list of what fits it."""

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

Choice = TypeVar("Choice")


class Pick(ModalScreen[Choice | None], Generic[Choice]):
    """The answer is what was chosen, or None. A subclass says what fits, and how each is written."""

    HEADING = ""
    ENTER = "enter chooses it"
    PLACEHOLDER = ""
    NOTHING = ""
    """Text in the list where nothing fits."""
    DEFAULT_CSS = """
    Pick { align: center top; }
    Pick Vertical {
        width: 90; max-width: 96%; height: auto; max-height: 80%; margin-top: 1;
        background: $panel; border: round $primary; border-title-style: bold;
    }
    Pick Input, Pick Input:focus { border: none; height: 1; padding: 0 1; background: $surface; }
    Pick OptionList, Pick OptionList:focus {
        border: none; height: auto; max-height: 100%; padding: 0 1; background: $panel;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close"),
        Binding("down,ctrl+n", "move(1)", show=False, priority=True),
        Binding("up,ctrl+p", "move(-1)", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.found: Sequence[Choice] = ()

    def fitting(self, query: str) -> Sequence[Choice]:
        """Choices that fit the letters typed, best first."""
        raise NotImplementedError

    def line(self, choice: Choice) -> Text:
        """A choice's line in the list."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self.HEADING
            box.border_subtitle = f"{self.ENTER} · esc closes"
            yield Input(placeholder=self.PLACEHOLDER)
            yield OptionList(markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._find("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._find(event.value)

    def on_input_submitted(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None and at < len(self.found):
            self.dismiss(self.found[at])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.found[event.option_index])

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if by > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def action_close(self) -> None:
        self.dismiss(None)

    def _find(self, query: str) -> None:
        self.found = self.fitting(query)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(self.line(choice)) for choice in self.found])
        if self.found:
            options.highlighted = 0
        else:
            options.add_option(Option(self.NOTHING, disabled=True))
