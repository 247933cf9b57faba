"""Tables of rows, each with its origin: the interface of all readers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.errors import DataError

Columns = dict[str, Any]
Origin = tuple[str, Columns]
"""A row with its origin: `file.jsonl:17`, or `file.parquet row 17` where there are no lines."""
Keep = npt.NDArray[np.bool_]

ROW_BYTES = 64_000_000
"""Most bytes of a row in a file, a hundred times what a long book has: what is longer is a file without line breaks, or
with a quote that is never closed, and would be held whole to find that out."""
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Table(Protocol):
    """The rows of one source. Reading them twice gives the same rows in the same order."""

    def count(self) -> int:
        """Number of rows, found without building them where the format allows it."""
        ...

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        """The rows, or those that `keep` (bool `[count]`) picks. Raises `DataError` where one is broken."""
        ...

    def broken(self) -> Iterator[tuple[int, DataError]]:
        """Number from 0 of each broken row, and its error. Raises `DataError` where no row after it can be found."""
        ...


@dataclass(frozen=True)
class Joined:
    """The rows of several files, one after the other."""

    tables: tuple[Table, ...]

    @cached_property
    def starts(self) -> list[int]:
        """Number of the first row of each, and of all."""
        return [0, *np.cumsum([table.count() for table in self.tables]).tolist()]

    def count(self) -> int:
        return self.starts[-1]

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        for number, table in enumerate(self.tables):
            if keep is None:
                yield from table.rows()
            elif (part := keep[self.starts[number] : self.starts[number + 1]]).any():
                yield from table.rows(part)

    def broken(self) -> Iterator[tuple[int, DataError]]:
        for number, table in enumerate(self.tables):
            yield from ((self.starts[number] + row, error) for row, error in table.broken())


def bounded_lines(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Each line of a file, and how long it is. Of one longer than `ROW_BYTES` only so many bytes and one are given."""
    more = partial(file.readline, ROW_BYTES + 1)
    for line in iter(more, b""):
        size = len(line)
        if size > ROW_BYTES and not line.endswith(b"\n"):
            for rest in iter(more, b""):
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
        yield line, size


def too_long(where: str) -> DataError:
    """Error for a row of more than `ROW_BYTES`."""
    return DataError(
        f"{where}: a row of more than {ROW_BYTES / 1e6:,.0f} MB, which is the most",
        "Look for line breaks that are missing between the rows, or a quote that is never closed; else split the row.",
    )


def not_utf8(where: str, offset: int, data: bytes) -> DataError:
    """Error for bytes that are not UTF-8, by what they seem to be."""
    if data.startswith(UTF16):
        return DataError(f"{where}: the file is UTF-16, not UTF-8", "Save it as UTF-8.")
    if b"\0" in data:
        return DataError(
            f"{where}: byte {offset} is not text: the file is binary", "Check that this is the right file."
        )
    return DataError(
        f"{where}: byte {offset} is not UTF-8",
        "Save the file as UTF-8, for example with `iconv -f latin1 -t utf-8`.",
    )
