"""Compressed files, unpacked into the cache once, where they are read as any other.

Of a row that is longer than any may be no more is unpacked than shows that.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from engine.data.readers.registry import PACKED
from engine.data.readers.table import ROW_BYTES, too_long
from engine.data.sources import file_cache
from engine.errors import DataError
from engine.storage.regular_files import open_binary

BY_LINE = (".jsonl", ".ndjson", ".csv", ".tsv")
"""Kinds of files whose rows do not continue over lines, but for quoted fields."""
LARGE = 2_000_000
"""Bytes from which a compressed file is large: it may hold ten times as many."""
BEGINNING = 16_000_000
"""Bytes of the beginning of a large file."""
CHUNK = 1 << 20
CHECKED = 64
"""Chunks between two checks of free disk space."""


def packed_by(name: str) -> str:
    """The suffix of a compression that a file's name ends with; empty where it has none."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in PACKED else ""


def unpacked(path: Path, name: str, packed: str, kind: str) -> Path:
    """The plain file, of such a kind, that a compressed one holds; unpacked again when that changes.

    Raises `DataError` where it is damaged or has a row that is too long, MachineError where there is no room for it.
    """
    return _made(path, name, packed, kind, skip=False)


def unpacked_skipping(
    path: Path, name: str, packed: str, kind: str, tell: Callable[[float], None] = lambda share: None
) -> Path:
    """The same, for whoever leaves rows out that are too long: of those there is only the beginning.

    `tell` hears which share of the compressed file, 0 to 1, has been read.
    """
    return _made(path, name, packed, kind, skip=True, tell=tell)


def takes_time(path: Path, kind: str) -> bool:
    """Return True for a large file that is not unpacked yet: a preview begins with its first rows."""
    return path.stat().st_size >= LARGE and kind in BY_LINE and not file_cache.is_there(_key(path), kind)


def beginning(path: Path, name: str, packed: str, kind: str) -> Path:
    """Unpack the first rows of a large compressed file; the whole of any other.

    Raises as `unpacked` does.
    """
    if not takes_time(path, kind):
        return unpacked(path, name, packed, kind)
    key = file_cache.key_of("beginning", _key(path))
    return file_cache.get_or_make(key, kind, lambda making: _unpack_beginning(path, name, packed, making))


def is_beginning(plain: Path, path: Path) -> bool:
    """Return True if a plain file holds only the beginning of a compressed one."""
    return plain.stem == file_cache.key_of("beginning", _key(path))


def _made(
    path: Path,
    name: str,
    packed: str,
    kind: str,
    skip: bool,
    tell: Callable[[float], None] = lambda share: None,
) -> Path:
    def unpack(making: Path) -> None:
        lines = _LongLines(name, skip) if kind in BY_LINE else None
        _unpack(path, name, packed, making, lines, tell)

    return file_cache.get_or_make(_key(path), kind, unpack)


def _key(path: Path) -> str:
    status = path.stat()
    return file_cache.key_of("unpacked", path.resolve(), status.st_size, status.st_mtime_ns)


class _LongLines:
    """Cuts lines that are too long out of what goes by. Raises `DataError` at the first, where they are not skipped."""

    def __init__(self, name: str, skip: bool) -> None:
        self._name, self._skip = name, skip
        self._line, self._size = 1, 0
        """The line that continues, and its bytes so far."""

    def cut(self, data: bytes) -> bytes:
        """Part of a chunk to write: of a line that is too long, somewhat more than a row may have."""
        end, last = data.find(b"\n"), data.rfind(b"\n")
        self._size += len(data) if end < 0 else end
        long = self._size > ROW_BYTES + CHUNK
        if long and not self._skip:
            raise too_long(f"{self._name}:{self._line}")
        if end < 0:
            return b"" if long else data
        self._line += data.count(b"\n")
        self._size = len(data) - last - 1
        return data[end:] if long else data


def _unpack(
    path: Path,
    name: str,
    packed: str,
    making: Path,
    lines: _LongLines | None,
    tell: Callable[[float], None],
) -> None:
    size = path.stat().st_size
    with open_binary(path) as whole, opened(whole, name, packed) as inside, making.open("wb") as out:
        number = 0
        while data := inside.read(CHUNK):
            if not number % CHECKED:
                file_cache.check_free_space(making.parent, CHECKED * CHUNK)
                tell(whole.tell() / size)
            out.write(lines.cut(data) if lines else data)
            number += 1
    if not making.stat().st_size:
        raise DataError(f"{name}: the file is empty", "Put rows in it, or name another file.")


def _unpack_beginning(path: Path, name: str, packed: str, making: Path) -> None:
    with opened(path, name, packed) as inside:
        data = inside.read(BEGINNING)
        while b"\n" not in data[-CHUNK:] and len(data) <= ROW_BYTES + CHUNK and (more := inside.read(CHUNK)):
            data += more
    making.write_bytes(data[: data.rfind(b"\n") + 1] or data)


@contextmanager
def opened(file: Path | IO[bytes], name: str, packed: str) -> Iterator[IO[bytes] | Any]:
    """Open a compressed file for reading. Raises `DataError` where it is damaged or cut off."""
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
