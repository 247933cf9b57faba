"""What the readers of files give: rows with their origin."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.errors import DataError

Columns = dict[str, Any]
Origin = tuple[str, Columns]
"""A row with its origin: `file.jsonl:17`, or `file.parquet row 17` where there are no lines."""
Keep = npt.NDArray[np.bool_]

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
        """Number from 0 of each row that is broken, and how. Raises `DataError` where no row after it can be told."""
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


def not_utf8(where: str, offset: int, data: bytes) -> DataError:
    """What to say of bytes that are not UTF-8, by what they seem to be."""
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
