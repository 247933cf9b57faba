"""Compressed files, unpacked into the cache once, where they are read as any other."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from engine.data import kept_files
from engine.data.readers import PACKED
from engine.errors import DataError

CHUNK = 1 << 20
CHECKED = 64
"""Chunks between two looks at how much of the disk is free."""


def packed_by(name: str) -> str:
    """The suffix of a compression that a file's name ends with; empty where it has none."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in PACKED else ""


def unpacked(path: Path, name: str, packed: str, kind: str) -> Path:
    """The plain file, of such a kind, that a compressed one holds; unpacked again when that changes.

    Raises `DataError` where it is damaged, MachineError where there is no room for it.
    """
    status = path.stat()
    key = kept_files.key_of("unpacked", path.resolve(), status.st_size, status.st_mtime_ns)
    return kept_files.made(key, kind, lambda making: _unpack(path, name, packed, making))


def _unpack(path: Path, name: str, packed: str, making: Path) -> None:
    with opened(path, name, packed) as inside, making.open("wb") as out:
        number = 0
        while data := inside.read(CHUNK):
            if not number % CHECKED:
                kept_files.room(making.parent, CHECKED * CHUNK)
            out.write(data)
            number += 1
    if not making.stat().st_size:
        raise DataError(f"{name}: the file is empty", "Put rows in it, or name another file.")


@contextmanager
def opened(file: Path | IO[bytes], name: str, packed: str) -> Iterator[IO[bytes] | Any]:
    """What a compressed file holds, to be read. Raises `DataError` where that is damaged or cut off."""
    import pyarrow as pa

    source = str(file) if isinstance(file, Path) else file
    try:
        with gzip.open(source) if packed == ".gz" else pa.input_stream(source, compression="zstd") as inside:
            yield inside
    except (gzip.BadGzipFile, EOFError, zlib.error, pa.ArrowException) as error:
        raise _damaged(name, packed, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(name, packed, error) from error


def _damaged(name: str, packed: str, error: Exception) -> DataError:
    return DataError(
        f"{name}: not a whole {packed} file: {error}",
        "Compress it again, or fetch it again where it was cut off.",
    )
