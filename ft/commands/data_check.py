"""`ft data check`: problems of the rows, shown while the rows are read."""

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from engine.data.findings import Finding, SoFar
from engine.data.preview.quick_check import check
from engine.errors import CheckFailed
from ft.commands.data_shown import places, shown_findings
from ft.console import err, out, print_json, say

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.data.sources.resolve import FetchedSources

EVERY_S = 0.5
"""Seconds between two updates of the findings while rows are read."""
SPARE = 20
"""Updating them takes at most one part in so many of the time."""


def run(config: "TrainConfig", model: Path, fetched: "FetchedSources", json: bool) -> None:
    """Check the rows and print the findings. Raises CheckFailed if there is an error among them.

    Ctrl-c prints what was found so far and is raised again; a second one ends immediately.
    """
    watching = (Silent if json else Lively if sys.stderr.isatty() else Plain)()
    try:
        with watching, _stopping(watching):
            dataset = check(config, model, watching.progress, watching, fetched)
    except KeyboardInterrupt:
        if watching.last is not None and watching.asked < 2:
            _print_stopped(watching.last, json)
        raise
    if json:
        _print_json(
            dataset.findings,
            {"notes": dataset.notes, "fingerprint": dataset.fingerprint, "stopped_after": None},
        )
    else:
        for note in dataset.notes:
            say(note)
        out().print(shown_findings(dataset.findings))
    if any(finding.severity == "error" for finding in dataset.findings):
        raise CheckFailed("The data has errors that would stop a run.", "To train anyway: ft train --force")


class Silent:
    """Receives partial findings, and shows nothing until the end."""

    def __init__(self) -> None:
        self.last: SoFar | None = None
        self.asked = 0
        """Times that ctrl-c was pressed."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, so_far: SoFar) -> None:
        """Called between two chunks of rows: only here may an interrupted check be asked for its findings."""
        if self.last is None or so_far.rows >= self.last.rows:  # the check of the first rows saw more of them
            self.last = so_far
        if self.asked:
            raise KeyboardInterrupt

    def progress(self, done: int, total: int) -> None:
        """Called with the number of rows tokenised so far, and of all."""


class Watching(Silent):
    """Updates findings from time to time, and shows them."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0
        self._goes_on = True
        """False after the last row: then all findings are shown in a moment."""

    def progress(self, done: int, total: int) -> None:
        self._goes_on = done < total

    def __call__(self, so_far: SoFar) -> None:
        super().__call__(so_far)
        started = time.monotonic()
        early = so_far.of is None
        if so_far is self.last and (early or (self._goes_on and started >= self._next)):
            findings = so_far.findings()
            now = time.monotonic()
            self._next = now + max(EVERY_S, SPARE * (now - started))
            self.show(so_far, findings)

    def show(self, so_far: SoFar, findings: tuple[Finding, ...]) -> None:
        """Show the findings so far."""
        raise NotImplementedError


class Plain(Watching):
    """Prints a line for each new finding, where stderr is not a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, str] = {}

    def show(self, so_far: SoFar, findings: tuple[Finding, ...]) -> None:
        if so_far.problems and not self._shown:
            say(f"{_extent(so_far)}: {_unusable(so_far)}")
        for finding in findings:
            if self._shown.get(finding.kind) != finding.severity:
                self._shown[finding.kind] = finding.severity
                where = f": {places(finding)}" if finding.places else ""
                say(f"{_extent(so_far)}: {finding.severity}: {finding.message} ({finding.share:.1%}){where}")


class Lively(Watching):
    """Shows progress and findings on a terminal, until the check is done."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._task = self._bar.add_task("checking the first rows", total=None)
        self._live = Live(self._bar, console=err(), transient=True)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def progress(self, done: int, total: int) -> None:
        super().progress(done, total)
        words = f"{done:,} of {total:,} rows"
        self._bar.update(self._task, description=words, completed=done, total=total)

    def show(self, so_far: SoFar, findings: tuple[Finding, ...]) -> None:
        if so_far.of is None:
            self._bar.update(self._task, description="counting all rows")
        lines: list[Any] = [Text(f"{_extent(so_far)}:\n", style="bold")]
        lines += [Text(f"{_unusable(so_far)}\n")] if so_far.problems else []
        self._live.update(Group(self._bar, *lines, shown_findings(findings, brief=True)))


@contextmanager
def _stopping(watching: Silent) -> Iterator[None]:
    """Let ctrl-c wait for the end of a chunk while rows are read; a second one does not wait."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        watching.asked += 1
        at_it = watching.last is not None and watching.last.of is not None
        if watching.asked > 1 or not at_it:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _print_stopped(so_far: SoFar, json: bool) -> None:
    findings = so_far.findings()
    if json:
        _print_json(findings, {"notes": [], "fingerprint": None, "stopped_after": so_far.rows})
        return
    out().print(shown_findings(findings))
    say(f"Stopped after {_extent(so_far)}.")


def _print_json(findings: tuple[Finding, ...], about: Mapping[str, Any]) -> None:
    found = []
    for finding in findings:
        body = asdict(finding)
        found.append(body | {"rows": body.pop("places")})
    print_json({**about, "findings": found})


def _extent(so_far: SoFar) -> str:
    """Amount that was read, in words."""
    if so_far.of is None:
        return f"the first {so_far.rows:,} rows"
    return f"{so_far.rows:,} of {so_far.of:,} rows"


def _unusable(so_far: SoFar) -> str:
    count = len(so_far.problems)
    return f"{count:,} row{'s' if count > 1 else ''} cannot be used: {so_far.problems[0]}"
