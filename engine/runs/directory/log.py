"""`events.jsonl`: appended by one writer a whole line at a time, read by anybody at any moment."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.runs.directory.events import Event, decode, encode
from engine.storage.regular_files import open_binary, open_handle

TAIL_S = 0.1
"""Seconds between two looks of a follower for new lines."""
BLOCK = 1 << 16


def append(path: Path, event: Event) -> None:
    """Append one whole line. A torn last line, of a writer that was killed, is cut first.

    The engine and its supervisor may both have something to say: each waits for the other's line.
    Raises OSError where the disk says no; no part of the line is left behind then.
    """
    line = encode(event)
    handle = open_handle(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # let go when the file is closed
        end = _cut_torn_tail(handle)
        try:
            _write_all(handle, line, end)
        except OSError:
            os.ftruncate(handle, end)
            raise
    finally:
        os.close(handle)


def read(
    path: Path,
    following: Callable[[], bool] | None = None,
    offset: int = 0,
    without: tuple[bytes, ...] = (),
) -> Iterator[Event]:
    """The events on file, oldest first; what is no event is skipped, a torn last line is end of file.

    With `following`, continue with what is appended for as long as it returns True. `offset` in bytes skips
    what was there before; it has to be the length of the file at some moment. Lines that begin as one of
    `without` are not decoded.
    """
    while True:
        more = following() if following else False  # asked before reading, so that the last lines are seen
        try:
            with open_binary(path) as file:
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    offset += len(line)
                    event = None if line.startswith(without) else decode(line)
                    if event is not None:
                        yield event
        except FileNotFoundError:
            offset = 0
        if not more:
            return
        time.sleep(TAIL_S)


def chunk(
    path: Path, offset: int, size: int = 4 * BLOCK, without: tuple[bytes, ...] = ()
) -> tuple[list[Event], int]:
    """The events of about `size` bytes from `offset` on, and the offset of what comes next.

    The same offset means that there is nothing new. Lines that begin as one of `without` are not decoded.
    Raises FileNotFoundError.
    """
    with open_binary(path) as file:
        file.seek(offset)
        lines = file.readlines(size)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    events = (decode(line) for line in lines if not line.startswith(without))
    return [event for event in events if event is not None], offset + sum(map(len, lines))


def whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole line. Raises FileNotFoundError."""
    handle = open_handle(path, os.O_RDONLY)
    try:
        return _last_line_end(handle)
    finally:
        os.close(handle)


def _cut_torn_tail(handle: int) -> int:
    """Cut what follows the last newline; returns the length that remains."""
    end = _last_line_end(handle)
    if end < os.lseek(handle, 0, os.SEEK_END):
        os.ftruncate(handle, end)
    return end


def _last_line_end(handle: int) -> int:
    end = os.lseek(handle, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - BLOCK)
        newline = os.pread(handle, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _write_all(handle: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(handle, data, offset)
        data, offset = data[written:], offset + written
