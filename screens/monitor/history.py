"""The past of a long run, read apart from the screen: first in outline, then in full."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from engine.runs.directory import log
from engine.runs.directory.events import Event, Load, Memory, Step, beginning, decode
from engine.storage.regular_files import open_binary
from screens.monitor.run_view import RunView

LONG = 1 << 21
"""Bytes of events from which on a run is read apart: about eight thousand steps."""
POINTS = 1500
"""Steps of an outline, about."""
STEP_BYTES = 280
CHUNK = 1 << 17
OFTEN = (beginning(Step), beginning(Memory), beginning(Load))
"""Beginnings of lines of which an outline leaves most out."""


def outline(path: Path, run_id: str, smoothing: float) -> RunView:
    """A run with some of its steps: well under a second for any. Raises OSError."""
    stride = max(1, path.stat().st_size // STEP_BYTES // POINTS)
    view = RunView(run_id)
    for event in _thinned(path, stride):
        view.take(event)
    view.prepare(smoothing)
    return view


def whole(
    path: Path,
    run_id: str,
    smoothing: float,
    cancelled: threading.Event,
    progress: Callable[[float], object],
) -> tuple[RunView, int] | None:
    """A run with all its events, and the offset of what comes next; None where it was cancelled.

    `progress` gets the share that is read, 0 to 1. Raises OSError.
    """
    view, offset, size = RunView(run_id), 0, path.stat().st_size
    while not cancelled.is_set():
        events, following = log.chunk(path, offset, CHUNK)
        if following == offset or following >= size:
            for event in events:
                view.take(event)
            view.series.fed(following)
            view.prepare(smoothing)
            view.share = 1.0
            return view, following
        for event in events:
            view.take(event)
        offset = following
        view.series.fed(offset)
        progress(offset / size)
    return None


def _thinned(path: Path, stride: int) -> Iterator[Event]:
    """All events but the frequent ones: of these every `stride`-th, and the step before each of the others."""
    counts = dict.fromkeys(OFTEN, 0)
    skipped: list[bytes] = []
    with open_binary(path) as file:
        for line in file:
            kind = next((start for start in OFTEN if line.startswith(start)), None)
            if kind is not None:
                counts[kind] += 1
            if kind == OFTEN[0]:
                skipped.append(line)
                if counts[kind] % stride:
                    continue
            elif kind is not None and counts[kind] % stride:
                continue
            if kind != OFTEN[1]:
                yield from _last_for_all(skipped)
            event = decode(line) if kind != OFTEN[0] else None
            if event is not None:
                yield event
    yield from _last_for_all(skipped)


def _last_for_all(lines: list[bytes]) -> Iterator[Event]:
    """The last of these steps, with the tokens of about all of them, so that the axis of tokens is right."""
    event = decode(lines[-1]) if lines else None
    if isinstance(event, Step):
        yield replace(event, trained_tokens=event.trained_tokens * len(lines))
    lines.clear()
