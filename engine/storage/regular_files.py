"""Opening files that others may have put there: only regular ones, so that nothing waits or reads for ever.

A named pipe without a writer would keep its reader waiting, a device such as /dev/zero has no end. Links to regular
files are followed.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
MODE = 0o644
LEAST = 64 << 10
"""Read at least, as some of the system's files have a size of 0."""


class NotRegularError(OSError):
    """A path that should be a file is something else; `strerror` says what."""


def require(path: Path) -> None:
    """Raise NotRegularError, IsADirectoryError or another OSError unless the path leads to a regular file."""
    _check(path.stat(), path)


def open_binary(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises as `require` does."""
    return os.fdopen(open_handle(path, os.O_RDONLY), "rb")


def open_handle(path: Path, flags: int) -> int:
    """A descriptor of a regular file, never waited for; O_CREAT in `flags` makes a new one. Raises as `require`."""
    try:
        require(path)  # first: merely opening a device can do something
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, MODE)
    try:
        _check(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    return handle


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The bytes of a regular file, or its first `most`. Raises as `require` does."""
    with open_binary(path) as file:
        if most is None:
            return file.read()
        size = os.fstat(file.fileno()).st_size  # Python takes as much memory as it is asked to read at most
        return file.read(min(most, max(size + 1, LEAST)))


def read_text(path: Path, errors: str = "strict") -> str:
    """The UTF-8 text of a regular file. Raises as `require` does, and UnicodeDecodeError."""
    text = read_bytes(path).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check(status: os.stat_result, path: Path) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "a special file")
    raise NotRegularError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
