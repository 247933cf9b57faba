"""Follow a run while it is written: `screens.monitor.tail` posts what is new, `RunFollower` takes it."""

from dataclasses import dataclass, replace

from engine.errors import FtError
from engine.runs.directory import control
from engine.runs.directory.events import Acknowledged, Started
from screens.monitor.run_messages import (
    CommandSent,
    EventsRead,
    FromRun,
    HistoryRead,
    JobRead,
    Liveness,
    LogRead,
    PartRead,
    PlanRead,
    Reading,
    RunGone,
    StartedOver,
)
from screens.monitor.run_view import RunView


@dataclass(frozen=True)
class Change:
    """Effect of a message on what is shown of a run; the view itself may always have changed."""

    replaced: bool = False
    """Nothing that was drawn holds any longer."""
    status: bool = False
    """Other actions may be possible now."""
    log: tuple[str, ...] = ()
    """New lines of the engine's log."""
    acknowledged: tuple[str, ...] = ()
    """Commands sent from here that the engine has taken."""
    error: FtError | None = None


class RunFollower:
    """State of the run that is followed, and of the commands sent to it. Holds no widget and starts no thread."""

    def __init__(self) -> None:
        self.view: RunView | None = None
        self.token = 0
        """Tells what was read of this run from what is still coming of the one before."""
        self.waiting: dict[str, control.Command] = {}
        """Commands by their ids that the engine has not acknowledged."""

    @property
    def engine_pid(self) -> int | None:
        """The engine's process, as long as it lives."""
        return self.view.pid if self.view is not None and self.view.alive else None

    @property
    def is_job(self) -> bool:
        """True for a run that is known to be no training."""
        return self.view is not None and self.view.job is not None

    def start(self, run_id: str | None) -> int:
        """Follow another run, or none; returns the token that its messages are to carry."""
        self.token += 1
        self.waiting.clear()
        self.view = None if run_id is None else RunView(run_id)
        return self.token

    def take(self, message: FromRun) -> Change | None:
        """Fold a message into the view; None where it is about a run that is no longer followed."""
        view = self.view
        if view is None or message.token != self.token:
            change = None
        else:
            before = (view.state.status, view.serving)
            change = self._folded(view, message)
            if self.view is not None and (self.view.state.status, self.view.serving) != before:
                change = replace(change, status=True)
        if isinstance(message, EventsRead):
            message.taken.set()
        return change

    def _folded(self, view: RunView, message: FromRun) -> Change:
        match message:
            case EventsRead():
                return self._events(view, message)
            case HistoryRead():
                message.view.alive, message.view.plan, message.view.job = view.alive, view.plan, view.job
                self.view = message.view
            case StartedOver():
                self.view = RunView(view.run_id, alive=view.alive, plan=view.plan, job=view.job)
                return Change(replaced=True)
            case Reading():
                view.share = message.share
            case PlanRead():
                view.plan = message.plan
            case JobRead():
                view.job = message.job
                return Change(status=True)
            case PartRead():
                view.series.refine(message.part, message.series)
            case LogRead():
                return Change(log=message.lines)
            case CommandSent():
                if message.command_id not in view.acknowledged:
                    self.waiting[message.command_id] = message.command
            case Liveness():
                view.alive = message.alive
                if not message.alive:
                    self.waiting.clear()
                return Change(status=True)
            case RunGone():
                view.gone, view.alive = True, False
                self.waiting.clear()
                return Change(status=True, error=message.error)
        return Change()

    def _events(self, view: RunView, message: EventsRead) -> Change:
        acknowledged = []
        for event in message.events:
            view.take(event)
            if isinstance(event, Acknowledged) and self.waiting.pop(event.id, None) is not None:
                acknowledged.append(event.command)
            elif isinstance(event, Started):
                self.waiting.clear()
        view.series.fed(message.end)
        view.share = message.share
        return Change(acknowledged=tuple(acknowledged))
