"""The bar above every screen: where one is, and what trains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.widgets import Static

from screens.actions import SCREENS

if TYPE_CHECKING:
    from engine.runs.index import RunSummary


def training_now(runs: "Sequence[RunSummary]") -> tuple[str, ...]:
    """What trains, from the longest way of saying it to the shortest; empty where nothing does."""
    live = [run for run in runs if run.alive]
    if not live:
        return ()
    if len(live) > 1:
        return (f"● {len(live)} runs are training", f"● {len(live)} training", f"● {len(live)}")
    state = live[0].state
    sign, word = ("‖", "paused") if state.status == "paused" else ("●", "training")
    where = f"{state.step}/{state.total}" if state.total else state.phase or "starting"
    return (
        f"{sign} {word}  {live[0].name}  {where}",
        f"{sign} {live[0].name} {where}",
        f"{sign} {word} {where}",
        f"{sign} {where}",
        sign,
    )


class Navigation(Static):
    """` ft  1 Home  2 Models …   ● training name 12/600`. A click goes to the screen, or to what trains."""

    DEFAULT_CSS = "Navigation { dock: top; height: 1; background: $panel; color: $foreground; }"
    ALLOW_SELECT = False

    def __init__(self, scope: str) -> None:
        super().__init__(markup=False)
        self.scope = scope
        self.training: tuple[str, ...] = ()
        self._spans: list[tuple[int, int, str]] = []

    def show_training(self, wordings: tuple[str, ...]) -> None:
        """Say on the right what trains, in the longest wording that has room; nothing if there is none."""
        if wordings != self.training:
            self.training = wordings
            self.refresh()

    def render(self) -> Text:
        titles = {scope: (key, title) for key, scope, title in SCREENS}
        alone = not self.app.check_action("go_home", ())
        shown = [self.scope] if alone else list(titles)
        full = sum(len(title) + 4 for _, _, title in SCREENS)
        short = not alone and self.size.width < full + 4 + 12
        line = Text(" ft ", "bold", no_wrap=True, overflow="ellipsis")
        self._spans = []
        for scope in shown:
            key, title = titles[scope]
            here = scope == self.scope
            name = title if here or not short else title[:4]
            label = f" {name} " if alone else f"{'▸' if here else ' '}{key} {name} "
            self._spans.append((len(line), len(line) + len(label), scope))
            line.append(label, "bold reverse" if here else "")
        self._append_training(line)
        return line

    def _append_training(self, line: Text) -> None:
        room = self.size.width - len(line) - 2
        tail = next((wording for wording in self.training if len(wording) <= room), "")
        if tail:
            line.append(" " * (room - len(tail) + 1))
            self._spans.append((len(line), len(line) + len(tail), "monitor"))
            line.append(tail, "bold")

    def on_click(self, event: events.Click) -> None:
        for start, end, scope in self._spans:
            if start <= event.x < end:
                self.app.call_later(self.app.run_action, f"app.go_{scope}")
