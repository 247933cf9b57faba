"""A download, which is a run of its own: started or found, followed to its end; and the line that shows it."""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import Static

from engine.errors import FtError
from engine.jobs.download import Download
from engine.runs.directory import control, log
from engine.runs.directory.events import Phase
from engine.runs.directory.run import Run
from screens.format import duration, size

if TYPE_CHECKING:
    from engine.process.launcher import Engine
    from engine.runs.index.index import RunSummary

LOOK_S = 0.1
"""Seconds between two looks at a run that downloads."""
BAR = 24


class Pull:
    """A download that is followed. Its methods block and touch no widget: they are called in threads, one at a time."""

    def __init__(self, download: Download, run: Run | None = None) -> None:
        self.download = download
        self.stopping = False
        """Set where a person cancels the download; `look` tells the run."""
        self.alive = True
        """False once the run has ended, as of the last look."""
        self._run = run
        self._engine: Engine | None = None
        self._offset = 0
        self._told_to_stop = False

    @property
    def name(self) -> str:
        """The model: a hub id, `starter`, or a folder."""
        return self.download.model

    def begin(self) -> None:
        """Find the run that does this download, or start one; of what is here already, check that it is whole.

        Raises ModelError where it is not, MachineError or ConfigError where no engine can be started.
        """
        from engine.models.resolve import resolve
        from engine.process.launcher import start

        if self._run is None and not self.download.fetches:
            resolve(self.name)
            self.alive = False
            return
        self._run = self._run or self.download.running()
        if self._run is None:
            self._engine = start(self.download.create())
            self._run = self._engine.run

    def look(self) -> Phase | None:
        """Progress in bytes, where there is news of it. Raises FtError or OSError where the run cannot be reached."""
        assert self._run is not None
        self.alive = self._run.alive()
        if self.alive and self.stopping and not self._told_to_stop:
            control.send(self._run, "stop")
            self._told_to_stop = True
        try:
            events, self._offset = log.chunk(self._run.events_file, self._offset)
        except FileNotFoundError:  # whoever else follows the run has removed it: see `end`
            return None
        told = [event for event in events if isinstance(event, Phase) and event.total]
        return told[-1] if told else None

    def end(self) -> str:
        """Reason why the download has ended, `completed` or `stopped`; a completed one leaves no run.

        Raises the error that it failed with.
        """
        from engine.process.launcher import outcome

        if self._run is None:
            return "completed"
        code = self._engine.supervisor.wait() if self._engine else None
        try:
            reason = outcome(self._run, code=code).reason
        except FtError:
            if self._run.events_file.exists():
                raise
            return "completed"  # the command, or another app, has followed the run too, and has removed it
        if reason == "completed":
            self.download.forget(self._run)
        return reason


def under_way(runs: "Iterable[RunSummary]") -> Pull | None:
    """The first of these runs whose engine downloads now, to be followed. Blocks."""
    for summary in runs:
        run = Run(summary.folder, summary.id)
        with suppress(FtError):  # damaged; its own engine says so
            if run.alive():
                return Pull(Download.of(run), run)
    return None


class PullLine(Static):
    """`downloading x ██████▌     45 %  123 of 270 MB  12 MB/s  12 s left`; not shown without a download."""

    DEFAULT_CSS = """
    PullLine { height: 1; padding: 0 1; background: $panel; color: $foreground; display: none; }
    PullLine.-active { display: block; }
    """

    def begin(self, name: str) -> None:
        """Show that a download starts."""
        self._first: tuple[float, int] | None = None
        self._show(f"looking for {name} …", 0, 0)
        self.add_class("-active")

    def tell(self, note: str, done: int, total: int, now: float) -> None:
        """Show how far it was at `now`, in seconds."""
        if self._first is None or done < self._first[1]:
            self._first = (now, done)
        seconds, came = now - self._first[0], done - self._first[1]
        rate = came / seconds if seconds > 1 and came > 0 else None
        self._show(note, done, total, rate)

    def end(self) -> None:
        """Show nothing."""
        self.remove_class("-active")

    def _show(self, note: str, done: int, total: int, rate: float | None = None) -> None:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append("⇣ ", "bold")
        if total:
            share = min(1.0, done / total)
            filled = round(share * BAR)
            line.append("━" * filled, self.app.theme_variables["primary"]).append("─" * (BAR - filled), "dim")
            line.append(f" {share:4.0%}  {size(done)} of {size(total)}  ")
        line.append(note)
        if rate:
            line.append(f"  {size(rate)}/s  {duration((total - done) / rate)} left")
        self.update(line)
