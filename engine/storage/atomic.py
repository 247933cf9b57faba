"""Files that are there whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write bytes, or text as UTF-8, so that a reader, or a machine that loses power, sees the old file or the new one.

    The file has the permissions `mode`, and never wider ones on the way.
    Raises OSError with the file's name where the disk is full or the folder may not be written; the old file is then
    untouched, and nothing is left beside it.
    """
    try:
        _write(path, content if isinstance(content, bytes) else content.encode("utf-8", "replace"), mode)
    except OSError as error:
        error.filename = str(path)  # not that of the temporary file, and a full disk has no name at all
        raise


def _write(path: Path, data: bytes, mode: int) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries (a rename, a new file) survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
