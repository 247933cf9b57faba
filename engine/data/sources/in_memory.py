"""Rows that a Python program holds → a file that any run finds again, named for what is in it.

A run outlives the program that starts it and may be resumed by another, so it never depends on an object in memory: its
rows are written below FT_HOME once. The same rows have the same file.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from engine import paths
from engine.data.readers.json_writer import line_of
from engine.data.sources.file_cache import check_free_space, writing
from engine.data.sources.splits import pick
from engine.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    Rows: TypeAlias = Dataset | IterableDataset | Iterable[Mapping[str, Any]]

BATCH = 1000
"""Rows of a record batch."""
CHECKED = 64
"""Batches, or thousands of lines, between two looks at how much of the disk is free."""
UNUSED_S = 30 * 24 * 3600
"""After so long without use, rows that no run names may be removed."""
MAKING = ".making"


def stored(rows: "Rows") -> Path:
    """The file of these rows, written where it is not there yet.

    Rows of a `datasets.Dataset` keep their columns' types (Arrow); those of an `IterableDataset`, or of any iterable of
    mappings, are read to their end and written as JSON lines. Raises `DataError` where there are none, or a value that
    is no data, MachineError where the disk takes no more.
    """
    folder = paths.datasets()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        making = folder / f"{os.getpid()}-{time.monotonic_ns()}{MAKING}"
        try:
            count, suffix = _write(rows, making)
            if not count:
                raise DataError("the data holds no rows", "Give it rows to train on.")
            with making.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            target = folder / f"{digest[:32]}{suffix}"
            if target.exists():
                os.utime(target)
            else:
                making.replace(target)
        finally:
            making.unlink(missing_ok=True)
    return target


def splits_of(data: "Rows | Mapping[str, Rows]") -> "tuple[Rows, Rows | None]":
    """The rows to train on, and those to validate with where data has splits: a `DatasetDict`, or rows by name.

    A split for tests is used for neither. Raises `DataError` where no split is for training.
    """
    if not isinstance(data, Mapping):
        return data, None
    named = {str(name): (str(name),) for name in data}
    try:
        [train] = pick(named, None, "data").names
    except (DataError, ValueError) as error:
        there = ", ".join(named) or "none"
        raise DataError(f"data has no split train; its splits are: {there}", "Give one of them.") from error
    try:
        [own] = pick(named, "validation", "data").names
    except (DataError, ValueError):
        return data[train], None
    return data[train], data[own]


def remove_unused(recipes: Callable[[], Iterable[Path]]) -> None:
    """Remove files that were not used for long and that no recipe names; `recipes` gives the recipes of all runs."""
    limit = time.time() - UNUSED_S
    old = {path.name: path for path in paths.datasets().glob("*") if path.stat().st_mtime < limit}
    for recipe in recipes() if old else ():
        text = recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else ""
        old = {name: path for name, path in old.items() if name not in text}
    for path in old.values():
        path.unlink(missing_ok=True)


def _write(rows: "Rows", path: Path) -> tuple[int, str]:
    """Write rows; how many there are, and the suffix of what was written. Raises as `stored` does."""
    library = sys.modules.get("datasets")  # whoever holds a dataset has imported it
    if library is not None and isinstance(rows, library.Dataset):
        return _write_arrow(rows, path), ".arrow"
    return _write_lines(rows, path), ".jsonl"


def _write_arrow(dataset: "Dataset", path: Path) -> int:
    """Write an Arrow stream of batches of the same size, whatever the pieces that the dataset is made of."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, dataset.features.arrow_schema) as writer:
        for number, table in enumerate(dataset.with_format("arrow").iter(BATCH)):
            if not number % CHECKED:
                check_free_space(path.parent)
            writer.write_table(table.cast(dataset.features.arrow_schema).combine_chunks())
    return len(dataset)


def _write_lines(rows: "Rows", path: Path) -> int:
    """Write JSON lines; keys of objects that are null are left out, as Arrow fills them in."""
    features = getattr(rows, "features", None)
    about = features.to_dict() if features is not None else {}
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for count, row in enumerate(rows, start=1):
            if count % (CHECKED * BATCH) == 1:
                check_free_space(path.parent)
            out.write(line_of(row, about, f"row {count} of the data"))
    return count
