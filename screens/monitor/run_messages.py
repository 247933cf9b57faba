"""News of the run that Monitor follows, as messages: a thread posts them, `RunFollower` takes them."""

import threading
from typing import TYPE_CHECKING

from textual.message import Message

from engine.errors import FtError
from engine.runs.curves import zoom
from engine.runs.curves.series import RunSeries
from engine.runs.directory import control
from engine.runs.directory.events import Event
from screens.monitor.job_files import JobFiles
from screens.monitor.run_view import RunView

if TYPE_CHECKING:
    from engine.planning.plan import Plan


class FromRun(Message):
    """News of a followed run. `token` says which following it belongs to: another run may have been opened since."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token


class EventsRead(FromRun):
    """Events of a run, in order. None may be lost, so no message of these replaces another."""

    def __init__(self, token: int, events: tuple[Event, ...], share: float, end: int) -> None:
        super().__init__(token)
        self.events = events
        self.end = end
        """The byte of the file after the last of them."""
        self.share = share
        """Share of the file that has been read, 0 to 1."""
        self.taken = threading.Event()
        """Set by the one who takes it; the worker reads ahead by one message, not more."""


class HistoryRead(FromRun):
    """A long run until now; what comes after follows as events. The view is the receiver's from now on."""

    def __init__(self, token: int, view: RunView) -> None:
        super().__init__(token)
        self.view = view


class Reading(FromRun):
    """Share of a long run that has been read, 0 to 1; a newer one replaces an older one in the queue."""

    def __init__(self, token: int, share: float) -> None:
        super().__init__(token)
        self.share = share

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Reading) and message.token == self.token


class StartedOver(FromRun):
    """The file of events was replaced: what was read of it no longer holds."""


class Liveness(FromRun):
    """The run's engine lives, or does not."""

    def __init__(self, token: int, alive: bool) -> None:
        super().__init__(token)
        self.alive = alive


class PlanRead(FromRun):
    """The run's plan."""

    def __init__(self, token: int, plan: "Plan") -> None:
        super().__init__(token)
        self.plan = plan


class JobRead(FromRun):
    """Options and results of a run that is no training, as its files have them now."""

    def __init__(self, token: int, job: JobFiles) -> None:
        super().__init__(token)
        self.job = job


class LogRead(FromRun):
    """New lines of the engine's log."""

    def __init__(self, token: int, lines: tuple[str, ...]) -> None:
        super().__init__(token)
        self.lines = lines


class PartRead(FromRun):
    """Steps that were read again, to be shown singly."""

    def __init__(self, token: int, part: zoom.Part, series: RunSeries) -> None:
        super().__init__(token)
        self.part = part
        self.series = series


class CommandSent(FromRun):
    """A command is in the run's folder; the engine will acknowledge it by this id."""

    def __init__(self, token: int, command_id: str, command: control.Command) -> None:
        super().__init__(token)
        self.command_id = command_id
        self.command = command


class RunGone(FromRun):
    """The run's folder is no longer there, or cannot be read."""

    def __init__(self, token: int, error: FtError | None = None) -> None:
        super().__init__(token)
        self.error = error
