"""The bar above every screen: where one is, and what trains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.widgets import Static

from screens.actions import SCREENS

if TYPE_CHECKING:
    from engine.runs.index.index import RunSummary


ROOM = 12
"""Columns that the airy bar leaves for what trains; a narrow one leaves what there is."""
LETTERS = (None, 4, 0)
"""Letters of each title that are shown: all, four, or the number alone."""


def training_now(runs: "Sequence[RunSummary]") -> tuple[str, ...]:
    """Wordings of what trains, from the longest to the shortest; empty where nothing does."""
    live = [run for run in runs if run.alive and run.kind == "train"]
    if not live:
        return ()
    if len(live) > 1:
        return (f"● {len(live)} runs are training", f"● {len(live)} training", f"● {len(live)}")
    state = live[0].state
    sign, word = ("‖", "paused") if state.status == "paused" else ("●", "training")
    where = f"{state.step}/{state.total}" if state.total else state.phase or "starting"
    share = (f"{sign} {state.step * 100 // state.total}%",) if state.total else ()
    return (
        f"{sign} {word}  {live[0].name}  {where}",
        f"{sign} {live[0].name} {where}",
        f"{sign} {word} {where}",
        f"{sign} {where}",
        *share,
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
        self._spans = []
        line = Text(style="bold", no_wrap=True, overflow="ellipsis")
        for scope, label in self._labels():
            if scope:
                self._spans.append((len(line), len(line) + len(label), scope))
            line.append(label, "reverse" if scope == self.scope else "")
        self._append_training(line)
        return line

    def _labels(self) -> list[tuple[str, str]]:
        """Scope and label of what one can go to: airy where there is room, else whole titles as long as they fit."""
        if not self.app.check_action("go_home", ()):
            title = next(title for _, scope, title in SCREENS if scope == self.scope)
            return [("", " ft "), (self.scope, f" {title} ")]
        airy = [
            ("", " ft "),
            *((scope, f"{self._mark(scope)}{key} {title} ") for key, scope, title in SCREENS),
        ]
        if sum(len(label) for _, label in airy) + ROOM <= self.size.width:
            return airy
        for letters in LETTERS:
            tight = [
                (
                    scope,
                    f"{self._mark(scope)}{key} {title if scope == self.scope else title[:letters]}".rstrip(),
                )
                for key, scope, title in SCREENS
            ]
            if sum(len(label) for _, label in tight) + 2 <= self.size.width:
                break
        return tight

    def _mark(self, scope: str) -> str:
        return "▸" if scope == self.scope else " "

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
