"""The bar above every screen: where one is, and what trains."""

from rich.text import Text
from textual import events
from textual.widgets import Static

from screens.actions import SCREENS


class Navigation(Static):
    """` ft  1 Home  2 Models …   ● training name`. A click on a title goes there."""

    DEFAULT_CSS = "Navigation { dock: top; height: 1; background: $panel; color: $foreground; }"

    def __init__(self, scope: str) -> None:
        super().__init__(markup=False)
        self.scope = scope
        self.training = ""
        self._spans: list[tuple[int, int, str]] = []

    def show_training(self, text: str) -> None:
        """Say on the right what trains; nothing if empty."""
        self.training = text
        self.refresh()

    def render(self) -> Text:
        narrow = self.size.width < 100
        line = Text(" ft ", "bold", no_wrap=True, overflow="ellipsis")
        self._spans = []
        for key, scope, title in SCREENS:
            here = scope == self.scope
            label = (
                f"▸{key} {title} " if here else f" {key} {title} " if not narrow else f" {key} {title[:4]} "
            )
            self._spans.append((len(line), len(line) + len(label), scope))
            line.append(label, "bold reverse" if here else "")
        room = self.size.width - len(line) - 1
        if self.training and room > 4:
            tail = Text(self.training, no_wrap=True)
            tail.truncate(room, overflow="ellipsis")
            line.append(" " * (room - len(tail)))
            line.append_text(tail)
        return line

    def on_click(self, event: events.Click) -> None:
        for start, end, scope in self._spans:
            if start <= event.x < end:
                self.app.call_later(self.app.run_action, f"app.go_{scope}")
