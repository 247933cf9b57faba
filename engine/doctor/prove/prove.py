"""The proof from outside: starts its process in a home of its own, and reads the claims as they come."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from engine import secrets
from engine.doctor.prove.claim import Claim
from engine.errors import ConfigError, TrainingError
from engine.hardware import allocator, openmp
from engine.models import starter
from engine.runs.directory.events import Started
from engine.runs.directory.run import Run

MINUTES = 3.0
LOOK_S = 0.2
"""Seconds after which a proof that was given up ends."""


def prove(minutes: float = MINUTES, cancelled: Callable[[], bool] = bool) -> Iterator[Claim]:
    """Settle the claims, one after the other; a claim that has begun when the time is over is still settled.

    Closing the iterator, or `cancelled` returning True, ends the process and removes its folder. Raises ConfigError
    while a run trains, whose speed and memory it would share, ModelError without the starter, and TrainingError where
    the process breaks off.
    """
    if busy := [run.id for run in Run.all() if run.alive() and run.kind == "train"]:
        raise ConfigError(
            f"{busy[0]} trains now: the proof would slow it, and measure what is left.",
            f"Wait until it ends, or stop it: ft stop {busy[0]}",
        )
    ready = starter.ensure()
    with tempfile.TemporaryDirectory(prefix="ft-proof-") as place:
        home = Path(place)
        (home / "models").mkdir()
        (home / "models" / starter.NAME).symlink_to(ready.resolve())
        with (home / "log").open("w+b") as log:
            yield from _claims(minutes, home, log.fileno(), cancelled)


def _claims(minutes: float, home: Path, log: int, cancelled: Callable[[], bool]) -> Iterator[Claim]:
    environment = openmp.settled(secrets.without()) | allocator.preload()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "engine.doctor.prove.child", str(minutes * 60)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment | {"FT_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        start_new_session=True,
        bufsize=0,  # a line that waited in a buffer would not be seen by select
    )
    assert process.stdout is not None
    try:
        with process.stdout:
            for line in _lines(process.stdout, cancelled):
                yield Claim.of(json.loads(line))
        if not cancelled() and (code := process.wait()):
            raise TrainingError(
                f"The proof broke off with {code}: {_last_words(home / 'log')}",
                "Please report it with the file that ft doctor --bundle writes.",
            )
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for run in (home / "runs").glob("*"):
            _end(run)


def _lines(stream: IO[bytes], cancelled: Callable[[], bool]) -> Iterator[bytes]:
    """Lines as they come, until the stream ends or `cancelled` says so."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not cancelled():
            if selector.select(LOOK_S):
                line = stream.readline()
                if not line:
                    return
                yield line


def _end(folder: Path) -> None:
    """Kill the engine of a run of the proof, which is in a session of its own."""
    run = Run(folder)
    pid = next((event.pid for event in run.events() if isinstance(event, Started)), None)
    if run.alive() and pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
