"""Find an action by a few letters of its name."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.fuzzy import FuzzySearch
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from screens.actions import ACTIONS, SCREENS, Action
from screens.keymap import keys_of, shown

TITLES = {scope: title for _, scope, title in SCREENS} | {"app": "ft"}


BEGINS = 10
"""What it counts for that an action's label begins with what was typed."""


def title_of(scope: str) -> str:
    """A scope as a person knows it; a sheet over a screen has a scope too, and its own name."""
    return TITLES.get(scope, scope.capitalize())


class Palette(ModalScreen[Action]):
    """A line to type in, and the actions that fit it, best first. The answer is the one chosen, or None."""

    DEFAULT_CSS = """
    Palette { align: center top; }
    Palette Vertical {
        width: 90; max-width: 96%; height: auto; max-height: 80%; margin-top: 1;
        background: $panel; border: round $primary; border-title-style: bold;
    }
    Palette Input, Palette Input:focus { border: none; height: 1; padding: 0 1; background: $surface; }
    Palette OptionList, Palette OptionList:focus {
        border: none; height: auto; max-height: 100%; padding: 0 1; background: $panel;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close"),
        Binding("down,ctrl+n", "move(1)", show=False, priority=True),
        Binding("up,ctrl+p", "move(-1)", show=False, priority=True),
    ]

    def __init__(
        self, scope: str, changed: Mapping[str, str], possible: Callable[[Action], bool] = lambda _: True
    ) -> None:
        """`scope` is the screen in front: its actions stand first. `possible` says what can be done now."""
        super().__init__()
        self.scope = scope
        self.changed = changed
        self.possible = possible
        self.found: list[Action] = []

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Do what?"
            box.border_subtitle = "enter does it · esc closes"
            yield Input(placeholder="a few letters: stop, theme, runs …")
            yield OptionList()

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
        self.found = ranked(query, self.scope)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(self._line(action)) for action in self.found])
        if self.found:
            options.highlighted = 0
        else:
            options.add_option(Option("No action has these letters in its name.", disabled=True))

    def _line(self, action: Action) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{title_of(action.scope)}: {action.label}".ljust(24), "bold")
        line.append(" ".join(shown(key) for key in keys_of(action, self.changed)).ljust(12))
        line.append(f" {action.help}")
        if not self.possible(action):
            line.stylize("dim")
        return line


def ranked(query: str, scope: str) -> list[Action]:
    """The actions that fit, best first; for nothing typed all of them, the screen's own first."""
    nearness = {scope: 2, "app": 1}
    if not query.strip():
        return sorted(ACTIONS, key=lambda action: -nearness.get(action.scope, 0))
    search = FuzzySearch()
    scored = []
    for action in ACTIONS:
        name = f"{title_of(action.scope)} {action.label}"
        score = max(search.match(query, name)[0] * 2, search.match(query, action.help)[0])
        if score > 0:
            score += BEGINS if action.label.lower().startswith(query.strip().lower()) else 0
            scored.append((score + nearness.get(action.scope, 0) / 10, action))
    return [action for _, action in sorted(scored, key=lambda pair: -pair[0])]
