"""A run's lock: whoever holds it is the run's living engine.

It is an flock, so it ends with the last process that has it open, however that process ends. The parent
takes it and hands the open file to the engine, so that there is no moment between the two.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.storage.regular_files import open_handle

PATIENCE_S = 1.0
"""Somebody who asks whether a lock is held has it for an instant; a taker waits that out."""


def take(path: Path) -> int | None:
    """Take the lock: an open file descriptor, or None where a living process has it.

    Raises OSError where the file cannot be written.
    """
    handle = open_handle(path, os.O_RDWR | os.O_CREAT)
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(handle)
                return None
            time.sleep(0.02)


def held(path: Path) -> bool:
    """Return True if a living process has the lock."""
    try:
        handle = open_handle(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def holding(handle: int) -> Iterator[None]:
    """Keep a lock that was taken until the end of the block."""
    try:
        yield
    finally:
        os.close(handle)
