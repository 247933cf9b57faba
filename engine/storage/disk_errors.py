"""Errors of the operating system about files, for people: which file, why, and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import MachineError
from engine.storage.regular_files import NotRegularError

ELSEWHERE = "Choose another place with --run-dir or FT_HOME."
CAUSES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("The disk is full", "Free some space; `ft runs rm RUN` removes old runs."),
    errno.EDQUOT: ("Your disk quota is used up", "Free some space; `ft runs rm RUN` removes old runs."),
    errno.EFBIG: ("A file may not grow so large here", "See `ulimit -f`, or the limits of the file system."),
    errno.EROFS: ("The file system is read-only", ELSEWHERE),
    errno.EACCES: ("You may not write here", ELSEWHERE),
    errno.EPERM: ("You may not write here", ELSEWHERE),
    errno.EIO: (
        "The disk reports an error",
        "Check the disk; choose another place with --run-dir or FT_HOME.",
    ),
}


def explained(error: OSError) -> MachineError:
    """The same failure as a MachineError with the file's name and what to do."""
    if isinstance(error, NotRegularError):
        message = f"{error.filename} cannot be used: {error.strerror}."
        return MachineError(message, "Remove it, or put the file back.")
    cause, hint = CAUSES.get(error.errno or 0, (error.strerror or str(error), ELSEWHERE))
    return MachineError(f"{cause}: {error.filename}" if error.filename else f"{cause}.", hint)


def unreadable(what: str | Path, error: OSError | ValueError) -> MachineError:
    """The error for a text file that cannot be read. ValueError is raised by a path with a zero byte."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return MachineError(
        f"{what} cannot be read: {why}", "Check that it is a regular file and that you may read it."
    )


@contextmanager
def explaining(path: Path | None = None) -> Iterator[None]:
    """Turn OSErrors of the block into MachineErrors; `path` is what is written, where the error does not say."""
    try:
        with naming(path):
            yield
    except OSError as error:
        raise explained(error) from error


@contextmanager
def naming(path: Path | None) -> Iterator[None]:
    """Give OSErrors of the block the name of the file that is written: the system's, for a full disk, have none."""
    try:
        yield
    except OSError as error:
        if path is not None and error.errno and error.filename is None:
            error.filename = str(path)
        raise
