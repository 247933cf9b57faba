"""Files of which a builder of the library `datasets` knows what a row is → JSON lines in the cache.

These are kinds of files that ft has no reader for, files that a README has read in a way of its own (`sep` of CSV,
`field` of JSON), and files on the hub that are streamed. A builder gets one file at a time, so that a row keeps its
file and its number. It is used without `load_dataset`, which would tell a server of each call, and as a stream, which
keeps nothing in a cache of its own.
"""

import importlib
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from engine.data import kept_files
from engine.data.arrow_values import rows_of
from engine.data.json_writer import line_of
from engine.data.kept_files import NO_ROOM
from engine.data.readers import BUILT, ROWS
from engine.errors import DataError, FtError

BUILDERS: Mapping[str, str] = {
    ".csv": "csv.csv.Csv",
    ".tsv": "csv.csv.Csv",
    ".json": "json.json.Json",
    ".jsonl": "json.json.Json",
    ".ndjson": "json.json.Json",
    ".parquet": "parquet.parquet.Parquet",
    ".tar": "webdataset.webdataset.WebDataset",
}
"""The packaged builder of each kind of file, below `datasets.packaged_modules`."""
COLUMNAR = (".parquet",)
MEMBER = re.compile(r"(?:.*/|)[^./]+\.(?P<ending>[^/]*)")
"""A member of an archive, as the builder parts its name: what comes before the first dot is the row's."""
MEMBERS: Mapping[str, str] = {
    **dict.fromkeys(("json", "jsn"), "json"),
    **dict.fromkeys(("txt", "text", "transcript"), "string"),
    **dict.fromkeys(("cls", "cls2", "index", "inx", "id"), "int64"),
}
"""The kinds of files in an archive that are read, by their endings, and the types of their columns."""
BATCH = 1000
CHECKED = 64_000
"""Rows between two looks at how much of the disk is free."""
OF_FILES = ("__url__",)
"""Columns that tell where on this disk a file lies."""


@dataclass(frozen=True)
class Built:
    """A file of rows that a builder reads: where it is, a path or `hf://…`, its name for people, and how it is read."""

    place: str
    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)
    """Of the hub."""


def needed(kind: str, settings: Mapping[str, Any]) -> bool:
    """Whether a file of this kind is read by a builder, rather than by a reader of ours."""
    return kind in BUILT or (bool(settings) and kind in BUILDERS)


def written(file: Built, key: tuple[object, ...], most: int | None = None) -> Path:
    """The rows of a file, or the first ones, as JSON lines in the cache; `key` is what its content is known by.

    Raises `DataError` where it is not what its kind says, MachineError where the disk takes no more.
    """
    settings = json.dumps(dict(file.settings), sort_keys=True, default=str)
    name = kept_files.key_of("built", file.kind, settings, most, version("datasets"), *key)
    return kept_files.made(name, ROWS, lambda making: _write(file, most, making))


def _write(file: Built, most: int | None, making: Path) -> None:
    number = 0
    with making.open("w", encoding="utf-8") as out, tempfile.TemporaryDirectory(dir=making.parent) as scratch:
        rows = islice(_explained(file, Path(scratch)), most)
        for number, row in enumerate(rows, start=1):
            if number % CHECKED == 1:
                kept_files.room(making.parent)
            out.write(line_of(row, {}, f"{file.name} row {number}"))
    if not number:
        raise DataError(f"{file.name}: holds no rows", "Name another file.")


def _explained(file: Built, scratch: Path) -> Iterator[Mapping[str, Any]]:
    """The rows, and what the library says of a file that it does not read as a `DataError`."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    number = 0
    try:
        for number, row in enumerate(_rows(file, scratch), start=1):  # noqa: B007 - told where one fails
            yield row
    except (FtError, MemoryError, ConnectionError, httpx.HTTPError, HfHubHTTPError):
        raise  # not the file's fault
    except Exception as error:  # pandas, pyarrow, tarfile and others each raise their own
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0]
        where = f"row {number + 1}: " if number else ""
        raise DataError(
            f"{file.name}: {where}`datasets` does not read it: {said}",
            "Convert it to JSONL or Parquet, or leave the file out.",
        ) from error


def _rows(file: Built, scratch: Path) -> Iterator[Mapping[str, Any]]:
    if file.kind == ".xml":  # the builder of 4.8 cannot be streamed from a file of this disk
        yield {"xml": Path(file.place).read_text(encoding="utf-8")}
        return
    stream = _stream(file, scratch, _columns(Path(file.place), file.name) if file.kind == ".tar" else None)
    if file.kind in COLUMNAR:
        features = stream.features.to_dict() if stream.features else {}
        for table in stream.with_format("arrow").iter(BATCH):
            for batch in table.to_batches():
                yield from rows_of(batch, features)
        return
    for row in stream:
        yield {name: value for name, value in row.items() if name not in OF_FILES}


def _stream(file: Built, scratch: Path, features: Any = None) -> Any:
    """A builder's stream of the rows of one file."""
    module, _, name = BUILDERS[file.kind].rpartition(".")
    builder = getattr(importlib.import_module(f"datasets.packaged_modules.{module}"), name)
    known = {each.name for each in builder.BUILDER_CONFIG_CLASS.__dataclass_fields__.values()}
    settings = {name: value for name, value in file.settings.items() if name in known}
    if file.kind == ".tsv":
        settings.setdefault("sep", "\t")
    place = file.place
    if "://" not in place:  # a name of its own: in that of a file, `[` and `*` would be a pattern
        link = scratch / f"rows{file.kind}"
        if not link.exists():
            link.symlink_to(Path(place).resolve())
        place = str(link)
    made = builder(
        cache_dir=str(scratch), data_files={"train": [place]}, token=file.token, features=features, **settings
    )
    return made.as_streaming_dataset(split="train")


def _columns(path: Path, name: str) -> Any:
    """The columns of an archive, by the endings of all its files; raises `DataError` where some are not text.

    The builder would take them from the first five rows, and silently leave out what only later ones have: other files,
    and other keys in their JSON, which therefore is of the type `Json`.
    """
    import datasets

    found: dict[str, Any] = {column: datasets.Value("string") for column in ("__key__", "__url__")}
    with tarfile.open(path) as archive:
        names = (MEMBER.fullmatch(member.name) for member in archive if member.isfile())
        endings = sorted({each["ending"] for each in names if each})
    for ending in endings:
        kind = MEMBERS.get(ending.rpartition(".")[2].lower())
        if kind is None:
            raise DataError(
                f"{name}: holds `.{ending}` files, which are not text",
                f"Make an archive without them. Read are {', '.join(f'.{each}' for each in MEMBERS)}.",
            )
        found[ending] = datasets.Json() if kind == "json" else datasets.Value(kind)
    return datasets.Features(found)
