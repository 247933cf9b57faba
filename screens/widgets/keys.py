"""The line below every screen: its keys, from the table of actions."""

from typing import cast

from rich.text import Text
from textual import events
from textual.screen import Screen
from textual.widgets import Static

from screens.actions import ACTIONS, action_of
from screens.host import Host
from screens.keymap import keys_of, shown


class Keys(Static):
    """`p pause  s save now  …  ? help  q quit`: the screen's keys as far as they fit, the app's always.

    A click on one does it. What cannot be done now is dim; what a text field would take for itself is left out.
    """

    DEFAULT_CSS = "Keys { dock: bottom; height: 1; background: $panel; color: $foreground; }"
    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._spans: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if screen is self.screen:
            self.refresh()

    def render(self) -> Text:
        entries = self._entries()
        own = [entry for entry in entries if not entry[0].startswith("app.")]
        everywhere = [entry for entry in entries if entry[0].startswith("app.")]
        room = self.size.width - 1 - sum(_width(entry) for entry in everywhere)
        line = Text(" ", no_wrap=True)
        self._spans = []
        for number, entry in enumerate(own):
            more = len(own) - number - 1
            if len(line) + _width(entry) + (2 if more else 0) > room:
                line.append("… ", "dim")
                break
            self._append(line, entry)
        line.append(" " * (room + 1 - len(line)))
        for entry in everywhere:
            self._append(line, entry)
        return line

    def _entries(self) -> list[tuple[str, str, str, bool]]:
        """Id, key, label and whether it can be done now, in the order of the table."""
        active = self.screen.active_bindings
        changed = cast(Host, self.app).keymap
        found: dict[str, tuple[str, str, str, bool]] = {}
        for key, each in active.items():
            binding = each.binding
            # Ctrl+q has a binding of its own.
            action = "app.leave" if binding.action == "leave" else binding.id
            if not action or not binding.show:
                continue
            # Of an action's keys the first in the table is shown, where a text field does not take it.
            first = [own for own in keys_of(action_of(action), changed) if own in active][:1]
            if action not in found or key in first:
                found[action] = (action, shown(key), binding.description, each.enabled)
        return [found[action.id] for action in ACTIONS if action.id in found]

    def _append(self, line: Text, entry: tuple[str, str, str, bool]) -> None:
        action, key, label, enabled = entry
        start = len(line)
        line.append(f"{key} ", "bold" if enabled else "dim")
        line.append(label, "" if enabled else "dim")
        self._spans.append((start, len(line), action))
        line.append("  ")

    def on_click(self, event: events.Click) -> None:
        for start, end, action in self._spans:
            if start <= event.x < end:
                scope, _, method = action.partition(".")
                where = self.app if scope == "app" else self.screen
                self.app.call_later(self.app.run_action, method, where)


def _width(entry: tuple[str, str, str, bool]) -> int:
    return len(entry[1]) + 1 + len(entry[2]) + 2
