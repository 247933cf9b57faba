"""Rows of any source, as ft reads them → a `datasets.Dataset` that is mapped from a file in the cache."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from engine.config.sections import Data
from engine.data.formats.base import RowError
from engine.data.jsonl import RowLines
from engine.data.readers.table import Columns
from engine.data.samples import read_row
from engine.data.selection import chosen_rows, select
from engine.data.sources import file_cache
from engine.data.sources.resolve import resolve
from engine.data.types import Row
from engine.errors import DataError

if TYPE_CHECKING:
    import datasets

Kind = Literal["string", "bool", "int64", "float64", "binary", "strings", "jsons", "json"]
"""Kind of a column's values: of one type, lists of texts, lists of anything, or anything."""
BATCH = 1000
CHECKED = 64
"""Batches between two looks at how much of the disk is free."""


def load(data: Data, seed: int, *, messages: bool) -> "datasets.Dataset":
    """The training rows of a recipe's `data`: their columns, or with `messages` what ft makes of them.

    Objects keep exactly the keys that they have, by `datasets`' `Json` type. Raises as reading the source does,
    `DataError` where no row is left, MachineError where the disk takes no more.
    """
    import datasets

    rows = _messages(data, seed) if messages else _columns(data, seed)
    kinds = _kinds(rows())
    if not kinds:
        raise DataError("no row is left to load", "Name a source that has rows.")
    features = datasets.Features({name: _feature(kind) for name, kind in kinds.items()})
    folder = file_cache.folder()
    making = folder / f"{os.getpid()}-{time.monotonic_ns()}{file_cache.MAKING}"
    with file_cache.writing(folder):
        try:
            _write(rows(), kinds, features.arrow_schema, making)
            with making.open("rb") as file:
                key = hashlib.file_digest(file, "sha256").hexdigest()[:32]
            own = folder / f"{key}.dataset"  # a folder, as `map` writes beside the file
            own.mkdir(exist_ok=True)
            making.replace(own / "rows.arrow")
        finally:
            making.unlink(missing_ok=True)
    file_cache.write_note(key, {})
    file_cache.clean(key)
    return datasets.Dataset.from_file(str(own / "rows.arrow"))


def _columns(data: Data, seed: int) -> Callable[[], Iterator[Columns]]:
    """The rows as they stand in the source, of whatever format, chosen by the seed where not all are wanted."""
    sources = resolve(data).training()
    keep = [chosen_rows(source, seed, number)[0] for number, source in enumerate(sources)]
    return lambda: (
        columns
        for source, mask in zip(sources, keep, strict=True)
        for _, columns in source.table.rows(None if mask.all() else mask)
    )


def _messages(data: Data, seed: int) -> Callable[[], Iterator[Columns]]:
    """The rows as `ft data prepare` writes them: `messages` and `tools`, `prompt` and `completion`, or `text`."""
    chosen = select(resolve(data).training(), data.max_samples, seed)

    def rows() -> Iterator[Row]:
        for row_format, chunk in chosen.chunks():
            for where, columns in chunk:
                try:
                    row = read_row(columns, where, row_format, data.train_on)
                except RowError as error:
                    if data.on_error == "skip":
                        continue
                    raise DataError(
                        f"{where}: {error}", "Leave such rows out with on_error='skip'."
                    ) from error
                if row is not None:
                    yield row

    lines = RowLines()
    for row in rows():
        lines.see(row)
    return lambda: map(lines.columns, rows())


def _kinds(rows: Iterable[Columns]) -> dict[str, Kind]:
    """Kinds of the columns' values, in the order in which the columns first appear."""
    seen: dict[str, set[Kind]] = {}
    for row in rows:
        for name, value in row.items():
            found = seen.setdefault(name, set())
            if value is not None:
                found.add(_kind(value))
    return {name: _together(found) for name, found in seen.items()}


def _kind(value: Any) -> Kind:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, list):
        return "strings" if all(isinstance(each, str) for each in value) else "jsons"
    by_type: dict[type, Kind] = {str: "string", float: "float64", bytes: "binary", dict: "json"}
    return by_type.get(type(value), "string")


def _together(kinds: set[Kind]) -> Kind:
    """The kind of a column whose values are of several."""
    if len(kinds) < 2:
        return next(iter(kinds), "string")
    if kinds == {"int64", "float64"}:
        return "float64"
    return "jsons" if kinds == {"strings", "jsons"} else "json"


def _feature(kind: Kind) -> Any:
    import datasets

    if kind in ("json", "jsons"):
        return datasets.List(datasets.Json()) if kind == "jsons" else datasets.Json()
    return datasets.List(datasets.Value("string")) if kind == "strings" else datasets.Value(kind)


def _write(rows: Iterator[Columns], kinds: Mapping[str, Kind], schema: Any, path: Any) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, schema) as writer:
        number = 0
        while batch := list(islice(rows, BATCH)):
            if not number % CHECKED:
                file_cache.check_free_space(path.parent)
            columns = [_array([row.get(name) for row in batch], kind) for name, kind in kinds.items()]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            number += 1


def _array(values: Sequence[Any], kind: Kind) -> Any:
    import pyarrow as pa

    if kind == "json":
        return pa.array([None if value is None else _json(value) for value in values], pa.json_())
    if kind == "jsons":
        offsets: list[int | None] = [0]
        items: list[str] = []
        for value in values:
            items += [_json(each) for each in value or ()]
            offsets.append(len(items))
        missing = pa.array([value is None for value in values])
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(items, pa.json_()), mask=missing
        )
    if kind == "strings":
        return pa.array(values, pa.list_(pa.string()))
    if kind == "string":
        return pa.array(
            [value if value is None or isinstance(value, str) else str(value) for value in values]
        )
    return pa.array(
        values, {"bool": pa.bool_(), "int64": pa.int64(), "float64": pa.float64()}.get(kind, pa.binary())
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
