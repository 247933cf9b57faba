"""What the operating system says about files, said to a person."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import MachineError

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
    cause, hint = CAUSES.get(error.errno or 0, (error.strerror or str(error), ELSEWHERE))
    return MachineError(f"{cause}: {error.filename}" if error.filename else f"{cause}.", hint)


@contextmanager
def explaining() -> Iterator[None]:
    """Turn OSErrors of the block into MachineErrors."""
    try:
        yield
    except OSError as error:
        raise explained(error) from error
