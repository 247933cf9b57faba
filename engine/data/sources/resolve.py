"""What the recipe names → tables of rows: finds the files, fetches and unpacks them, picks their readers."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import addresses, plugins
from engine.config.recipe_paths import HUB, STARTER, data_source, scheme
from engine.config.schema import Data, Source
from engine.data.formats.choice import FormatChoice, choice_of
from engine.data.readers.csv_table import Csv
from engine.data.readers.registry import KNOWN, ROWS, kind_of, read
from engine.data.readers.table import Joined, Table
from engine.data.sources import datasets_builders, file_cache, google_drive, http, hub, local
from engine.data.sources.archives import packed_by, unpacked, unpacked_skipping
from engine.data.sources.datasets_builders import Built
from engine.data.sources.splits import ALL, Part
from engine.errors import DataError, MachineError
from engine.models.starter import Progress, silent

STARTER_ROWS = Path(__file__).parents[1] / "starter"
DEFAULT_SHARE = 0.1
"""The validation share for which the starter's own held-out rows stand in."""
WEB = ("https", "http")
Unpack = Callable[[Path, str, str, str], Path]
"""Makes a plain file of a compressed one: its path, name, compression and the kind of what it holds."""


@dataclass(frozen=True)
class File:
    """A plain file of rows on this disk, its name for people (that of what it was made from), and its suffix."""

    path: Path
    name: str
    kind: str


@dataclass(frozen=True)
class Found:
    """The files of a source, in order, and what is to be said of how they were come by."""

    name: str
    files: tuple[File, ...]
    notes: tuple[str, ...] = ()
    aside: frozenset[str] = frozenset()
    """Splits of the source that are not among the files."""


@dataclass(frozen=True)
class OpenSource:
    """A source whose files are there: its rows, their format settings, and which of them to use."""

    name: str
    table: Table
    choice: FormatChoice
    max_samples: int | None
    weight: float = 1.0
    skip: bool = False
    """Whether rows that are broken are left out."""
    notes: tuple[str, ...] = ()


def train_sources(data: Data) -> list[OpenSource]:
    """Open every training source, fetching what is not here yet. Raises `DataError`, HubError, MachineError."""
    return [open_source(source, data) for source in training(data)]


def validation_source(data: Data) -> OpenSource | None:
    """Open the validation source; None where a share of the training rows is held out instead.

    Raises as `train_sources` does.
    """
    named = _validation(data)
    return None if named is None else open_source(named, data, "validation")


def open_source(source: Source, data: Data, part: Part = "train") -> OpenSource:
    """Open one source of a recipe. Raises as `train_sources` does."""
    found = find(source, part, unpack=_unpack(data))
    tables = tuple(read(file.path, file.name, file.kind, source.sample_by) for file in found.files)
    notes = found.notes
    if part == "train" and "validation" in found.aside and _validation(data) is None:
        own = f"{shown(source)} has rows for validation: `data.validation: {shown(source)}` would use them"
        notes = (*notes, own)
    return OpenSource(
        found.name,
        tables[0] if len(tables) == 1 else Joined(tables),
        choice_of(source, data),
        source.max_samples,
        source.weight,
        data.on_error == "skip",
        (*notes, *(note for table in tables if isinstance(table, Csv) for note in table.notes)),
    )


def files(data: Data) -> list[Path]:
    """Every file that is read for training and validation, in a fixed order. Raises as `train_sources` does."""
    return [
        file.path
        for source, part in everything(data)
        for file in find(source, part, unpack=_unpack(data)).files
    ]


def fetch(data: Data, progress: Progress = silent) -> None:
    """Have all files here that are elsewhere. Raises as `train_sources` does."""
    for source, part in everything(data):
        if scheme(source.path):
            find(source, part, progress, _unpack(data))


def training(data: Data) -> list[Source]:
    """The training sources of a recipe, each as a mapping."""
    named = data.train if isinstance(data.train, list) else [data.train]
    return [Source(path=source) if isinstance(source, str) else source for source in named]


def everything(data: Data) -> list[tuple[Source, Part]]:
    """All sources of a recipe and what their rows are for, those for validation last."""
    found: list[tuple[Source, Part]] = [(source, "train") for source in training(data)]
    own = _validation(data)
    return [*found, (own, "validation")] if own is not None else found


def with_old_splits(data: Data) -> Data:
    """The same recipe, its sources without a split read as runs did that were begun before folders had splits.

    A folder was all of its files, and a dataset of the hub was its `train`, for validation too.
    """

    def old(source: str | Source) -> str | Source:
        named = Source(path=source) if isinstance(source, str) else source
        if named.split is None and named.config is None and Path(named.path).expanduser().is_dir():
            return named.model_copy(update={"split": ALL})
        if named.split is None and named.path.startswith(HUB):
            return named.model_copy(update={"split": "train"})
        return source

    train = [old(each) for each in data.train] if isinstance(data.train, list) else old(data.train)
    validation = data.validation if isinstance(data.validation, float | int) else old(data.validation)
    return data.model_copy(update={"train": train, "validation": validation})


def away(source: Source, part: Part = "train") -> bool:
    """Whether a source would have to be fetched before it can be read."""
    kind = scheme(source.path)
    if kind in WEB:
        return not http.is_cached(source.path)
    if kind == "hf":
        return not hub.is_cached(hub.wanted(source, part))
    if kind == "gdrive":
        return google_drive.cached_path(source.path) is None
    return bool(kind)


def find(
    source: Source, part: Part = "train", progress: Progress = silent, unpack: Unpack = unpacked
) -> Found:
    """The plain files of a source: there, readable, not empty, of known kinds. Raises as `train_sources` does.

    `part` is what its rows are for: where a recipe names no split, it chooses one. `unpack` makes a plain file of a
    compressed one.
    """
    if source.path == STARTER:
        file = File(STARTER_ROWS / f"{part}.jsonl", f"starter/{part}.jsonl", ".jsonl")
        return Found(file.name, (file,))
    kind = scheme(source.path)
    _no_idle_keys(source, kind)
    notes: tuple[str, ...] = ()
    aside: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = {}
    made: Mapping[Path, str] = {}
    if kind in WEB:
        fetched = http.fetch(source.path, progress)
        named, notes = [(fetched.path, fetched.name)], fetched.notes
    elif source.path.startswith(HUB):
        cached = hub.fetch(hub.wanted(source, part), progress)
        named = [(file.path, f"{cached.repo}/{file.name}") for file in cached.files]
        made, notes = {file.path: file.kind for file in cached.files}, cached.notes
        aside, settings = cached.aside, cached.settings
    elif kind == "gdrive":
        named = [google_drive.fetch(source.path)]
    elif kind and kind not in plugins.installed(plugins.SOURCES):
        raise DataError(
            f"{http.shown(source.path)}: addresses of {kind}:// are not read",
            f"Use https:// or {HUB}OWNER/NAME.",
        )
    else:
        place = str(_brought(kind, source)) if kind else source.path
        here = local.find(place, source.config, source.split, part)
        named = [(path, local.shown(path)) for path in here.paths]
        notes, aside, settings = here.notes, here.aside, here.settings
    name = named[0][1] if len(named) == 1 else shown(source)
    files = tuple(_plain(path, name, settings, unpack, made.get(path, "")) for path, name in named)
    return Found(name, files, notes, aside)


def spelled(text: str, folder: Path) -> Source:
    """The source that a text names, as seen from a folder: what `as_text` gives, or what somebody has typed."""
    if text.startswith("{"):
        try:
            return Source.model_validate_json(text)
        except ValueError:
            pass  # a path that begins so
    return Source(path=data_source(text, folder))


def as_text(source: str | Source, part: Part = "train") -> str:
    """A source as one text: its path, or where more decides which rows it has, all that does, as JSON.

    What a folder is for is among that where it decides the split.
    """
    named = Source(path=source) if isinstance(source, str) else source
    if part == "validation" and named.split is None and Path(named.path).expanduser().is_dir():
        with suppress(DataError):  # whoever opens it is told
            split = local.find(named.path, named.config, None, part).split
            named = named.model_copy(update={"split": split or None})
    idle = {"weight": 1.0} | ({} if named.streaming else {"max_samples": None})
    plain = named.model_copy(update=idle)
    return plain.path if plain == Source(path=plain.path) else plain.model_dump_json(exclude_defaults=True)


def shown(source: Source) -> str:
    """A source for people, without what may be secret in an address."""
    if source.path.startswith(HUB):
        return source.path.removeprefix(HUB)
    if scheme(source.path):
        return http.shown(source.path) if "://" in source.path else source.path
    return local.shown(Path(source.path).expanduser())


def _no_idle_keys(source: Source, kind: str) -> None:
    """Raise `DataError` where a mapping says what its source does not have."""
    parted = kind in ("hf", *plugins.installed(plugins.SOURCES)) or (
        not kind and Path(source.path).expanduser().is_dir()
    )
    idle = [key for key in ("config", "split") if getattr(source, key) and not parted]
    idle += ["revision"] if source.revision and kind != "hf" else []
    idle += ["streaming"] if source.streaming and kind != "hf" else []
    if idle:
        raise DataError(
            f"{shown(source)}: {idle[0]} says nothing of this source",
            "Datasets of the hub have a revision and can be streamed; they and folders have configs and splits. "
            "Leave it out.",
        )


def _unpack(data: Data) -> Unpack:
    return unpacked_skipping if data.on_error == "skip" else unpacked


def _plain(path: Path, name: str, settings: Mapping[str, Any], unpack: Unpack, made: str = "") -> File:
    """The file that a reader reads: unpacked, or the rows that a builder reads of it; it is that already if `made`."""
    if made:
        return File(path, name, made)
    kind = kind_of(name) or kind_of(path)
    if not kind:
        raise DataError(f"{name}: cannot read files like this", f"Data files end in {KNOWN}.")
    local.check(path, name)
    if packed := packed_by(name) or packed_by(path.name):
        path = unpack(path, name, packed, kind)
    if datasets_builders.needed(kind, settings):
        status = path.stat()
        key = (path.resolve(), status.st_size, status.st_mtime_ns)
        path, kind = datasets_builders.written(Built(str(path), name, kind, settings), key), ROWS
    return File(path, name, kind)


def _brought(kind: str, source: Source) -> Path:
    """What the source of another package gives: its function gets the source and a folder of its own in the cache."""
    fetch = plugins.load(plugins.SOURCES, kind)
    if not callable(fetch):
        raise MachineError(
            f"source: {kind} names {type(fetch).__name__}, which cannot be called", "Reinstall its package."
        )
    key = file_cache.key_of("plugin", source.path)
    folder = file_cache.folder() / f"{key}.{kind}"
    folder.mkdir(exist_ok=True)
    file_cache.write_note(key, {"from": addresses.stored(source.path)})
    try:
        path = addresses.whole(source.path)
    except addresses.MissingAddressError as error:
        raise DataError(
            f"{shown(source)}: its password or signature is not stored with the run",
            f"Set {error.name} to the whole address, and run again.",
        ) from None
    return Path(fetch(path, folder))


def _validation(data: Data) -> Source | None:
    """The source of validation rows. The starter ships some of its own, used unless another share is asked for."""
    if isinstance(data.validation, float | int):
        starter = [source.path for source in training(data)] == [STARTER]
        return Source(path=STARTER) if starter and data.validation == DEFAULT_SHARE else None
    return Source(path=data.validation) if isinstance(data.validation, str) else data.validation
