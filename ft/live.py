"""What a run looks like while it trains: a live view, plain lines, or JSON."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from engine.runs.directory.events import (
    Acknowledged,
    Eval,
    Event,
    Failed,
    Finished,
    Memory,
    Phase,
    Sample,
    Started,
    Step,
    Warned,
    encode,
)
from engine.runs.directory.run import Run
from engine.units import clock, sparkline
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
        """Tell the person something that is no event."""
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
        self.phase = Phase(name="starting")
        self.step: Step | None = None
        self.evals: list[Eval] = []
        self.memory: Memory | None = None
        self.sample: Sample | None = None
        self.warnings: deque[str] = deque(maxlen=WARNINGS)
        self.losses: deque[float] = deque(maxlen=LOSSES)
        self.speeds: deque[Step] = deque(maxlen=SPEEDS)
        self.paused = False
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
        match event:
            case Started():
                self._forget_after(event.resumed_from)
            case Phase():
                self.phase = event
                self._read_plan()
                self.live.refresh()  # a phase shorter than a redraw is shown too
            case Step():
                self.step = event
                self.losses.append(event.loss)
                self.speeds.append(event)
            case Eval():
                self.evals.append(event)
            case Memory():
                self.memory = event
            case Sample():
                self.sample = event
            case Warned():
                self.warnings.append(f"{event.message} {event.hint}".strip())
            case Finished():
                self.phase = Phase(name=event.reason.replace("_", " "))
            case Failed():
                self.phase = Phase(name="failed")
            case Acknowledged(command="pause" | "resume"):
                self.paused = event.command == "pause"

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
        if self.paused:
            return "paused"
        return self.phase.name + (f": {self.phase.note}" if self.phase.note else "")

    def _progress(self) -> tuple[int, int | None]:
        if self.step is not None and self.phase.name not in ("evaluating", "loading", "tokenising"):
            return self.step.step, self.step.total
        return self.phase.done or 0, self.phase.total

    def _position(self) -> str:
        elapsed = clock(time.time() - self.began)
        if self.step is None:
            done, total = self._progress()
            return (f"{done}/{total}   " if total else "") + elapsed
        left = self.step.total - self.step.step
        mean = (
            sum(step.step_s for step in self.speeds) / len(self.speeds) if self.speeds else self.step.step_s
        )
        where = f"{self.step.step}/{self.step.total}   epoch {self.step.epoch:.2f}"
        return f"{where}   {elapsed}, {clock(left * mean)} left"

    def _rows(self) -> list[tuple[str, str]]:
        rows = []
        if self.step is not None:
            tokens, seconds = sum(s.tokens for s in self.speeds), sum(s.step_s for s in self.speeds)
            speed = tokens / seconds if seconds else self.step.tokens_per_s
            rows.append(("loss", f"{self.step.loss:.4f}   {sparkline(self.losses)}"))
            rows.append(("speed", f"{speed:.0f} tokens/s   learning rate {self.step.lr:.2e}"))
        if self.memory is not None and (self.memory.device_peak_bytes or self.memory.process_peak_bytes):
            peak = self.memory.device_peak_bytes or self.memory.process_peak_bytes or 0
            planned = f" of {run_text.gigabytes(self.planned)} planned" if self.planned else ""
            rows.append(("memory", f"at most {run_text.gigabytes(peak)}{planned}"))
        if self.evals:
            last, best = self.evals[-1], min(self.evals, key=lambda e: e.loss)
            rows.append(("held out", f"{run_text.scores(last)}   (step {last.step})"))
            rows.append(("best", f"loss {best.loss:.4f}   (step {best.step})"))
        if self.sample is not None:
            prompt, text = run_text.one_line(self.sample.prompt, 40), run_text.one_line(self.sample.text)
            rows.append(("sample", f"{prompt} → {text}"))
        return rows

    def _read_plan(self) -> None:
        if self.planned is None:
            plan = self.run.plan
            self.planned = plan.memory.peak_bytes if plan else None

    def _forget_after(self, step: int | None) -> None:
        """A restarted engine does the later steps again."""
        last = -1 if step is None else step
        self.evals = [event for event in self.evals if event.step <= last]
        if self.step is not None and self.step.step > last:
            self.step = None
        if step is None:
            self.losses.clear()
        self.speeds.clear()
