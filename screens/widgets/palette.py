"""Find an action by a few letters of its name."""

from collections.abc import Callable, Mapping, Sequence

from rich.text import Text
from textual.fuzzy import FuzzySearch

from screens.action import Action
from screens.actions import ACTIONS, SCREENS
from screens.keymap import keys_of, shown
from screens.widgets.pick import Pick

TITLES = {scope: title for _, scope, title in SCREENS} | {"app": "ft"}
BEGINS = 10
"""Score of an action whose label begins with what was typed."""


def title_of(scope: str) -> str:
    """A scope as a person knows it; a sheet over a screen has a scope too, and its own name."""
    return TITLES.get(scope, scope.capitalize())


class Palette(Pick[Action]):
    """All actions, those of the screen in front first."""

    HEADING = "Run an action"
    ENTER = "enter runs it"
    PLACEHOLDER = "a few letters: stop, theme, runs …"
    NOTHING = "No action matches."

    def __init__(
        self, scope: str, changed: Mapping[str, str], possible: Callable[[Action], bool] = lambda _: True
    ) -> None:
        """`scope` is the screen in front: its actions stand first. `possible` says what can be done now."""
        super().__init__()
        self.scope = scope
        self.changed = changed
        self.possible = possible

    def fitting(self, query: str) -> Sequence[Action]:
        return ranked(query, self.scope)

    def line(self, choice: Action) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{title_of(choice.scope)}: {choice.label}".ljust(23), "bold")
        line.append(" ".join(shown(key) for key in keys_of(choice, self.changed)).ljust(9))
        line.append(f" {choice.help}")
        if not self.possible(choice):
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
