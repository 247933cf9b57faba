"""Choose the trained model to talk to, by a few letters of its run."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from screens.talkers import Talker

MOST = 500
"""Models that are listed; typing finds the others."""


class PickModel(ModalScreen[Talker]):
    """Runs and their checkpoints, newest first. The answer is the one chosen, or None."""

    DEFAULT_CSS = """
    PickModel { align: center top; }
    PickModel Vertical {
        width: 90; max-width: 96%; height: auto; max-height: 80%; margin-top: 1;
        background: $panel; border: round $primary; border-title-style: bold;
    }
    PickModel Input, PickModel Input:focus { border: none; height: 1; padding: 0 1; background: $surface; }
    PickModel OptionList, PickModel OptionList:focus {
        border: none; height: auto; max-height: 100%; padding: 0 1; background: $panel;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close"),
        Binding("down,ctrl+n", "move(1)", show=False, priority=True),
        Binding("up,ctrl+p", "move(-1)", show=False, priority=True),
    ]

    def __init__(self, talkers: Sequence[Talker], current: Talker | None) -> None:
        super().__init__()
        self._talkers = talkers
        self._current = current
        self._found: list[Talker] = []

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Talk to which model?"
            box.border_subtitle = "enter chooses it · esc closes"
            yield Input(placeholder="a few letters of the run, the step or the base model")
            yield OptionList()

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._find("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._find(event.value)

    def on_input_submitted(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None and at < len(self._found):
            self.dismiss(self._found[at])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._found[event.option_index])

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if by > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def action_close(self) -> None:
        self.dismiss(None)

    def _find(self, text: str) -> None:
        words = text.lower().split()
        self._found = [
            each for each in self._talkers if all(w in f"{each.title} {each.base}".lower() for w in words)
        ][:MOST]
        options = self.query_one(OptionList)
        options.clear_options()
        for each in self._found:
            line = Text("▸ " if each == self._current else "  ")
            line.append(each.run_id, "bold" if each.what == "final" else "")
            line.append(f"  {each.what}")
            line.append(f"  on {each.base}", "dim")
            options.add_option(Option(line))
        if self._found:
            options.highlighted = 0
        else:
            options.add_option(Option(Text("no model fits this"), disabled=True))
