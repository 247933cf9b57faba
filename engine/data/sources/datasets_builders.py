"""Files that the library `datasets` reads, or that are read in a way of their own → JSON lines in the cache.

These are kinds of files that ft has no reader for, files that a README has read otherwise (`sep` of CSV, `field` of
JSON), and files on the hub that are streamed. A packaged builder of the library gets one file at a time, so that a row
keeps its file and its number. It is used without `load_dataset`, which would tell a server of each call, and as a
stream, which keeps nothing in a cache of its own.
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

from engine.data.readers.arrow import as_text
from engine.data.readers.arrow_values import rows_of
from engine.data.readers.json_array import JsonArray
from engine.data.readers.json_writer import line_of
from engine.data.readers.registry import BUILT, ROWS, read
from engine.data.readers.text import Text
from engine.data.sources import file_cache
from engine.data.sources.file_cache import NO_ROOM
from engine.errors import DataError, FtError
from engine.models.hub_client import http_errors

BUILDERS: Mapping[str, str] = {
    ".csv": "csv.csv.Csv",
    ".tsv": "csv.csv.Csv",
    ".parquet": "parquet.parquet.Parquet",
    ".tar": "webdataset.webdataset.WebDataset",
}
"""The packaged builder of each kind of file that one reads, below `datasets.packaged_modules`."""
REMOTE = (".csv", ".tsv", ".parquet")
"""Kinds of files that a builder reads over the network."""
FIELD = "field"
"""README's name for the key of JSON under which the rows are."""
AS_TEXT = {"keep_default_na": False}
"""Values of CSV stay the text that they are: `None` and `NA` too, which pandas takes for nothing, and `007`."""
BATCH = 1000
CHECKED = 64_000
"""Rows between two looks at how much of the disk is free."""
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


@dataclass(frozen=True)
class Built:
    """A file of rows that a builder reads: where it is, a path or `hf://…`, its name for people, and how it is read."""

    place: str
    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)
    """Of the hub."""

    @property
    def is_own(self) -> bool:
        """True if one of ft's own readers reads it, maybe a part of it or under a key."""
        return self.kind not in BUILDERS


def needed(kind: str, settings: Mapping[str, Any]) -> bool:
    """Return True if a file of this kind needs a builder, and cannot be read by one of ft's readers."""
    return kind in BUILT or (kind in BUILDERS and bool(settings)) or (kind == ".json" and FIELD in settings)


def written(file: Built, key: tuple[object, ...], most: int | None = None) -> Path:
    """The rows of a file, or the first ones, as JSON lines in the cache; `key` is what its content is known by.

    Raises `DataError` where it is not what its kind says, MachineError where the disk takes no more.
    """
    settings = json.dumps(dict(file.settings), sort_keys=True, default=str)
    name = file_cache.key_of("built", file.kind, settings, most, version("datasets"), *key)
    return file_cache.get_or_make(name, ROWS, lambda making: _write(file, most, making))


def _write(file: Built, most: int | None, making: Path) -> None:
    number = 0
    with making.open("w", encoding="utf-8") as out, tempfile.TemporaryDirectory(dir=making.parent) as scratch:
        lines = _own_lines(file) if file.is_own else _built_lines(file, Path(scratch))
        for number, line in enumerate(islice(lines, most), start=1):
            if number % CHECKED == 1:
                file_cache.check_free_space(making.parent)
            out.write(line)
    if not number:
        under = f" under `{file.settings[FIELD]}`" if FIELD in file.settings else ""
        raise DataError(f"{file.name}: holds no rows{under}", "Name another file.")


def _own_lines(file: Built) -> Iterator[str]:
    """Rows of one of ft's readers, every value as it stands. Raises `DataError`."""
    path = Path(file.place)
    if file.kind == ".xml":  # the builder of datasets 4.8 cannot be streamed from this disk
        for _, columns in Text(path, file.name).rows():
            yield as_text({"xml": columns["text"]}) + "\n"
        return
    field_ = file.settings.get(FIELD)
    table = (
        JsonArray(path, file.name, str(field_)) if field_ else read(path, file.name, file.kind, "document")
    )
    for _, columns in table.rows():
        yield as_text(columns) + "\n"


def _built_lines(file: Built, scratch: Path) -> Iterator[str]:
    """The rows that a builder reads. What the library says of a file that it does not read is a `DataError`."""
    from huggingface_hub.errors import HfHubHTTPError

    number = 0
    of_hub: tuple[type[Any], ...] = (ConnectionError, HfHubHTTPError, *http_errors("HTTPError"))
    try:
        for number, row in enumerate(_rows(file, scratch), start=1):
            yield line_of(row, {}, f"{file.name} row {number}")
    except (FtError, MemoryError):
        raise
    except of_hub:
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
    if file.kind == ".tar":
        for row in _stream(file, scratch, _columns(Path(file.place), file.name)):
            yield {name: value for name, value in row.items() if name != "__url__"}  # a place on this disk
    elif file.kind == ".parquet":
        stream = _stream(file, scratch)
        features = stream.features.to_dict() if stream.features else {}
        for table in stream.with_format("arrow").iter(BATCH):
            for batch in table.to_batches():
                yield from rows_of(batch, features)
    else:
        import datasets

        first: Mapping[str, Any] = next(iter(_stream(file, scratch)), {})
        yield from _stream(
            file, scratch, datasets.Features({name: datasets.Value("string") for name in first})
        )


def _stream(file: Built, scratch: Path, features: Any = None) -> Any:
    """A builder's stream of the rows of one file."""
    module, _, name = BUILDERS[file.kind].rpartition(".")
    builder = getattr(importlib.import_module(f"datasets.packaged_modules.{module}"), name)
    known = {each.name for each in builder.BUILDER_CONFIG_CLASS.__dataclass_fields__.values()}
    settings = {name: value for name, value in (AS_TEXT | dict(file.settings)).items() if name in known}
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
