"""The names of a screen's panes in one line, where there is no room to show them side by side."""

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static


class Panes(Static):
    """` ▸text changed   form   plan ✔ fits`. A click on a name goes there."""

    DEFAULT_CSS = "Panes { height: 1; background: $surface; color: $foreground; }"
    ALLOW_SELECT = False
    here: reactive[str] = reactive("")

    class Chosen(Message):
        """This pane was chosen."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(markup=False)
        self.names = names
        self.said = dict.fromkeys(names, "")
        self.set_reactive(Panes.here, names[0])
        self._spans: list[tuple[int, int, str]] = []

    def say(self, name: str, state: str) -> None:
        """A word about a pane, shown beside its name."""
        if self.said[name] != state:
            self.said[name] = state
            self.refresh()

    def render(self) -> Text:
        line, self._spans = Text(" ", no_wrap=True, overflow="ellipsis"), []
        for name in self.names:
            start, here = len(line), name == self.here
            line.append(f"▸{name} " if here else f" {name} ", "bold reverse" if here else "")
            line.append(f" {self.said[name]}" if self.said[name] else "", "dim")
            self._spans.append((start, len(line), name))
            line.append("   ")
        return line

    def on_click(self, event: events.Click) -> None:
        for start, end, name in self._spans:
            if start <= event.x < end:
                self.post_message(self.Chosen(name))
