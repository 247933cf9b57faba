"""A run as Monitor shows it: its events folded as they come. Needs no terminal."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.runs.curves.series import RunSeries
from engine.runs.directory import event_text
from engine.runs.directory.events import (
    Acknowledged,
    Event,
    Failed,
    Load,
    Memory,
    Phase,
    Proved,
    Sample,
    Serving,
    Started,
    Step,
)
from engine.runs.directory.projection import RECENT, Projection
from engine.runs.directory.state import RunState, settled

if TYPE_CHECKING:
    from engine.planning.plan import Plan
    from screens.monitor.job_files import JobFiles

PACE = 50
"""Steps that the pace is taken over: evaluations and saving between them count."""
LOADS = 120
"""Reports of a server's load that are drawn."""
PROVED, NOT_PROVED = "it answers as the trained model does", "it answers otherwise than the trained model"
SMOOTHED = ("loss", "grad_norm", "tokens_per_s")


@dataclass(frozen=True)
class News:
    """One line of what has happened. `kind` is the event's type; `t` unix seconds."""

    t: float
    kind: str
    text: str


@dataclass
class RunView(Projection):
    """A run as far as its events have been taken, with its curves and what has happened."""

    run_id: str
    series: RunSeries = field(default_factory=RunSeries)
    alive: bool | None = None
    """None until it is known."""
    gone: bool = False
    """The folder is no longer there."""
    plan: "Plan | None" = None
    job: "JobFiles | None" = None
    """Options and results of a run that is no training."""
    serving: Serving | None = None
    """The server, once it answers."""
    loads: deque[Load] = field(default_factory=lambda: deque(maxlen=LOADS))
    news: deque[News] = field(default_factory=lambda: deque(maxlen=RECENT))
    warnings: int = 0
    share: float = 0.0
    """Share of the file that has been read, 0 to 1."""
    _pace: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=PACE))

    @property
    def state(self) -> RunState:
        """State of the run."""
        return settled(self.folded, self.alive) if self.alive is not None else self.folded

    @property
    def seconds(self) -> float:
        """Training time up to the last step, pauses and the time between two engines left out."""
        bounds = self.series.series("loss", "time").bounds()
        return bounds[1] if bounds else 0.0

    def take(self, event: Event) -> None:
        """Fold one more event in."""
        phase = self.phase
        super().take(event)
        self.series.feed(event)
        match event:
            case Step():
                self._pace.append((event.step, event.t))
            case Memory() | Sample():
                pass
            case Serving():
                self.serving = event
                self.loads.clear()
            case Load():
                self.loads.append(event)
            case Phase() if phase is not None and phase.name == event.name and not event.note:
                pass
            case Phase() if phase is not None and _is_further(event, phase):
                if self.news and self.news[-1].kind == Phase.type:
                    self.news.pop()  # a line a row would bury the rest
                self._tell(event)
            case _:
                if isinstance(event, Started | Acknowledged):
                    self._pace.clear()
                self._tell(event)

    def smoothing(self, weight: float) -> Iterator[None]:
        """Smooth the curves ahead, a portion at a time: all of a long run in one go would take too long."""
        if weight > 0:
            yield from self.series.smoothing((*SMOOTHED, *self.series.step_metrics), weight)

    def prepare(self, weight: float) -> None:
        """`smoothing` in one go."""
        for _ in self.smoothing(weight):
            pass

    def seconds_left(self) -> float | None:
        """Estimate at the pace of the last steps; None where nothing is known, or nothing is trained."""
        if self.state.status != "running" or self.step is None or len(self._pace) < 2:
            return None
        (first, since), (last, until) = self._pace[0], self._pace[-1]
        if last <= first or until <= since:
            return None
        return (self.step.total - self.step.step) * (until - since) / (last - first)

    def _tell(self, event: Event) -> None:
        text = event_text.line(event)
        if isinstance(event, Proved):  # the job's page has the figures
            text = PROVED if event.passed else NOT_PROVED
        if isinstance(event, Failed) and event.hint:
            text += f" {event.hint}"
        self.warnings += event.type == "warning"
        self.news.append(News(event.t, event.type, text))


def _is_further(event: Phase, before: Phase) -> bool:
    """True if the phase is the one before, a piece further on."""
    counted = event.done is not None and before.done is not None
    return counted and (event.name, event.note, event.total) == (before.name, before.note, before.total)
