"""What the readers of files give: rows with their origin."""

from collections.abc import Iterator
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
    """The rows of one file. Reading them twice gives the same rows in the same order."""

    def count(self) -> int:
        """Number of rows, found without building them where the format allows it."""
        ...

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        """The rows, or those that `keep` (bool `[count]`) picks. Raises `DataError` where one is broken."""
        ...


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
