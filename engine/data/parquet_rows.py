"""Rows of Parquet. pyarrow is imported where a file is opened: it is heavy."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.rows import Keep, Origin, Table
from engine.errors import DataError


@dataclass(frozen=True)
class Parquet:
    """A Parquet file, read a thousand rows at a time."""

    path: Path
    name: str

    def count(self) -> int:
        with self.open() as file:
            return int(file.metadata.num_rows)

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        index = 0
        with self.open() as file:
            for batch in file.iter_batches(batch_size=1000):
                for columns in batch.to_pylist():
                    if keep is None or keep[index]:
                        yield f"{self.name} row {index + 1}", columns
                    index += 1

    def open(self) -> Any:
        """The file. Raises `DataError` where it is no Parquet."""
        import pyarrow.lib
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except (pyarrow.lib.ArrowInvalid, OSError) as error:
            raise DataError(
                f"{self.name}: not a Parquet file: {error}", "Write it again, or convert it to JSONL."
            ) from error


def read_parquet(path: Path, name: str) -> Table:
    """A .parquet file."""
    return Parquet(path, name)
