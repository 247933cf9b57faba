"""Following a run to its end; ctrl-c stops it with a checkpoint, a second one immediately."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from engine.errors import MachineError
from engine.process.launcher import Engine, outcome
from engine.runs.directory import control
from engine.runs.directory.checkpoints import latest, step_of
from engine.runs.directory.events import Finished, Memory, Step, Warned
from engine.runs.directory.run import Run
from engine.runs.directory.state import last_word
from ft import console, run_text
from ft.live import Live, Plain, View

STOPPED_EXIT = 130
GONE_S = 10.0
"""Seconds that the memory of a killed engine may take to go."""


def view_of(run: Run, json: bool, plain: bool) -> View:
    """JSON if asked for, a live view on a terminal, plain lines elsewhere."""
    if json or plain or not sys.stderr.isatty():
        return Plain(json)
    return Live(run, console.err())


@contextmanager
def interrupts_wait() -> Iterator[Callable[[], int]]:
    """Have ctrl-c and SIGTERM interrupt nothing in the block; gives a function that counts them.

    Between the making of a run's folder and the watching of its engine, they would leave either behind.
    """
    asked = 0

    def count(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1

    with _on_interrupt(count):
        yield lambda: asked


def follow_to_end(engine: Engine, view: View, interrupted: Callable[[], int]) -> int:
    """Show a run that this command started; ctrl-c stops it with a checkpoint, twice stops it immediately.

    `interrupted`: how often it was pressed before, see `interrupts_wait`.

    Returns the exit code. Raises the error that the run failed with.
    """
    run = engine.run
    asked = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            saving = "Saving a checkpoint, then stopping." if run.kind == "train" else "Stopping."
            view.say(f"{saving} Press ctrl-c again to stop immediately.")
            try:
                control.send(run, "stop")
            except MachineError:  # a full disk takes no file; a signal gets through
                engine.supervisor.terminate()
        elif asked == 2:
            engine.kill()

    with _on_interrupt(interrupt):
        with view:
            for _ in range(interrupted()):
                interrupt(signal.SIGINT, None)
            _show_all(run, view, engine.since)
        code = engine.supervisor.wait()
        if asked > 1:
            _note_killed(run, engine.since)
    return conclude(run, view, engine.since, code)


def attach_to_end(run: Run, view: View) -> int:
    """Show a run that trains elsewhere; ctrl-c leaves it training. Returns the exit code."""
    try:
        with view:
            _show_all(run, view, since=0)
    except KeyboardInterrupt:
        view.say(f"Detached; the run continues.\n  watch  ft attach {run.id}\n  stop   ft stop {run.id}")
        return STOPPED_EXIT
    return conclude(run, view, 0, None)


def conclude(run: Run, view: View, since: int, code: int | None) -> int:
    """Say how the run has ended; returns the exit code. Raises the error that it failed with."""
    finished = outcome(run, since, code)
    for text in run_text.summary(run, finished):
        view.say(text)
    return STOPPED_EXIT if finished.reason == "stopped" else 0


def _show_all(run: Run, view: View, since: int) -> None:
    for event in run.events(follow=True, since=since):
        view.show(event)


def _note_killed(run: Run, since: int) -> None:
    """Write the exit message of an engine that was stopped immediately, so that it does not look crashed."""
    until = time.monotonic() + GONE_S
    while run.alive() and time.monotonic() < until:
        time.sleep(0.05)
    if last_word(run.events(since=since, without=(Step, Memory))) is None:
        checkpoint = latest(run.folder)
        last = f"step {step_of(checkpoint)}" if checkpoint else "none yet"
        saved = f"; last checkpoint: {last}" if run.kind == "train" else ""
        run.emit(Warned(message=f"Stopped immediately{saved}."))
        run.emit(Finished(reason="stopped", step=step_of(checkpoint) if checkpoint else 0))


@contextmanager
def _on_interrupt(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `handler` for the length of the block."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
