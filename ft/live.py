"""Views of a run while it trains: live on a terminal, plain lines, or JSON."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from engine.metrics.registry import EVAL_LOSS, describe, written
from engine.runs.directory.events import Event, Phase, Started, Step, Warned, encode
from engine.runs.directory.projection import Projection
from engine.runs.directory.run import Run
from engine.units import clock, one_line, size, sparkline
from ft import run_text
from ft.console import say

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LOSSES = 512
SPEEDS = 20
"""Steps over which speed and remaining time are averaged."""
WARNINGS = 3
BAR = 24
REFRESH_PER_S = 4


class View(Protocol):
    """Shows events as they come."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Take the next event."""
        ...

    def say(self, text: str) -> None:
        """Show a line that is not an event."""
        ...


class Plain:
    """One line an event on stderr; with `json`, the events themselves on stdout."""

    def __init__(self, json: bool = False) -> None:
        self.json = json
        self.tenth: tuple[str, int] | None = None
        """The phase last shown, and its progress in tenths: a line for each row would bury the rest."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, event: Event) -> None:
        if self.json:
            sys.stdout.buffer.write(encode(event))
            sys.stdout.buffer.flush()
        elif self._is_news(event) and (text := run_text.line(event)):
            self.say(text)

    def _is_news(self, event: Event) -> bool:
        if not isinstance(event, Phase):
            return True
        before, self.tenth = self.tenth, (event.name, 10 * (event.done or 0) // (event.total or 1))
        return self.tenth != before

    def say(self, text: str) -> None:
        say(text)


class Live:
    """A view that redraws itself in place on a terminal."""

    def __init__(self, run: Run, console: "Console") -> None:
        from rich.live import Live as RichLive

        self.run = run
        self.projection = Projection(phase=Phase(name="starting"))
        self.warnings: deque[str] = deque(maxlen=WARNINGS)
        self.losses: deque[float] = deque(maxlen=LOSSES)
        self.speeds: deque[Step] = deque(maxlen=SPEEDS)
        self.began = time.time()
        self.planned: int | None = None
        self.live = RichLive(
            console=console, get_renderable=self.render, refresh_per_second=REFRESH_PER_S, transient=False
        )

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def say(self, text: str) -> None:
        self.live.console.print(text, markup=False, highlight=False)

    def show(self, event: Event) -> None:
        self.projection.take(event)
        match event:
            case Started():
                if event.last_valid_step < 0:
                    self.losses.clear()
                self.speeds.clear()
            case Phase():
                self._read_plan()
                self.live.refresh()  # a phase shorter than a redraw is shown too
            case Step():
                self.losses.append(event.loss)
                self.speeds.append(event)
            case Warned():
                self.warnings.append(f"{event.message} {event.hint}".strip())

    def render(self) -> "RenderableType":
        """The view as it stands now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Text.assemble((self.run.id, "bold"), "   ", (self._doing(), "cyan"))
        done, total = self._progress()
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=total or 1, completed=done, width=BAR), Text(self._position(), no_wrap=True)
        )
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        for name, text in self._rows():
            table.add_row(name, Text(text, overflow="ellipsis", no_wrap=name == "loss"))
        warnings = [Text(f"! {text}", style="yellow") for text in self.warnings]
        return Group(head, bar, table, *warnings)

    def _doing(self) -> str:
        state, phase = self.projection.folded, self.projection.phase
        if state.status in ("paused", "failed"):
            return state.status
        if state.reason or phase is None:
            return state.reason.replace("_", " ")
        return phase.name + (f": {phase.note}" if phase.note else "")

    def _progress(self) -> tuple[int, int | None]:
        step, phase = self.projection.step, self.projection.phase
        if step is not None and (phase is None or phase.name not in ("evaluating", "loading", "tokenising")):
            return step.step, step.total
        return (phase.done or 0, phase.total) if phase is not None else (0, None)

    def _position(self) -> str:
        elapsed = clock(time.time() - self.began)
        step = self.projection.step
        if step is None:
            done, total = self._progress()
            return (f"{done}/{total}   " if total else "") + elapsed
        mean = sum(each.step_s for each in self.speeds) / len(self.speeds) if self.speeds else step.step_s
        left = clock((step.total - step.step) * mean)
        return f"{step.step}/{step.total}   epoch {step.epoch:.2f}   {elapsed}, {left} left"

    def _rows(self) -> list[tuple[str, str]]:
        rows, run, state = [], self.projection, self.projection.folded
        if run.step is not None:
            tokens, seconds = sum(s.tokens for s in self.speeds), sum(s.step_s for s in self.speeds)
            speed = tokens / seconds if seconds else run.step.tokens_per_s
            rows.append(("loss", f"{run.step.loss:.4f}   {sparkline(self.losses)}"))
            rows.append(("speed", f"{speed:.0f} tokens/s   learning rate {run.step.lr:.2e}"))
            rows += [
                (describe(name).title, describe(name).written(value))
                for name, value in run.step.metrics.items()
            ]
        peak = run.memory and (run.memory.device_peak_bytes or run.memory.process_peak_bytes)
        if peak:
            planned = f" of {size(self.planned)} planned" if self.planned else ""
            rows.append(("memory", f"at most {size(peak)}{planned}"))
        if run.evals:
            title, last = describe(EVAL_LOSS).title, run.evals[-1]
            scores = run_text.scores(last).removeprefix(title).strip()
            rows.append((title, f"{scores}   (step {last.step})"))
        if state.best is not None:
            rows.append(("best", f"{written(state.best_metric, state.best)}   (step {state.best_step})"))
        if run.samples:
            prompt, text = (
                one_line(run.samples[-1].prompt, 40),
                one_line(run.samples[-1].text),
            )
            rows.append(("sample", f"{prompt} → {text}"))
        return rows

    def _read_plan(self) -> None:
        if self.planned is None:
            plan = self.run.plan
            self.planned = plan.memory.peak_bytes if plan else None
