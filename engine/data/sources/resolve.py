"""Sources of a recipe → tables of rows: fetched once, unpacked once, opened by the reader of each file.

The stages are values: `fetch` gives files on this disk (`FetchedSources`), `unpacked` plain files (`ResolvedSources`).
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import addresses, plugins, secrets
from engine.config.recipe_paths import HUB, STARTER, data_source, scheme
from engine.config.sections import Data, Source
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
"""Validation share for which the starter's own validation rows are used."""
WEB = ("https", "http")
RECHECK_S = 600.0
"""Seconds for which a long-lived process takes a remote source to be unchanged."""
Unpack = Callable[[Path, str, str, str], Path]
"""Makes a plain file of a compressed one, given its path, name, compression and the kind of what it holds."""


@dataclass(frozen=True)
class File:
    """A plain file of rows, its name for people (that of the file it was made from), and its suffix."""

    path: Path
    name: str
    kind: str


@dataclass(frozen=True)
class Found:
    """Plain files of a source, in order, and notes on where they come from."""

    name: str
    files: tuple[File, ...]
    notes: tuple[str, ...] = ()
    aside: frozenset[str] = frozenset()
    """Splits of the source that are not among the files."""


@dataclass(frozen=True)
class OpenSource:
    """A source whose files can be read: its rows, their format settings, and which of them to use."""

    name: str
    table: Table
    choice: FormatChoice
    max_samples: int | None
    weight: float = 1.0
    skip: bool = False
    """True if broken rows are left out."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fetched:
    """A source whose files are on this disk, compressed or not: each with its name for people."""

    source: Source
    part: Part
    """Purpose of its rows: where the recipe names no split, it decides which one is read."""
    files: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...] = ()
    aside: frozenset[str] = frozenset()
    """Splits of the source that are not among the files."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Reader settings that the source's README declares."""
    kinds: Mapping[Path, str] = field(default_factory=dict)
    """Kinds of those files that are made for a reader already."""

    def unpacked(self, unpack: Unpack = unpacked) -> Found:
        """Unpack compressed files and convert those that a builder of `datasets` reads. Raises as `fetch` does."""
        name = self.files[0][1] if len(self.files) == 1 else shown(self.source)
        files = (
            _plain(path, name, self.settings, unpack, self.kinds.get(path, "")) for path, name in self.files
        )
        return Found(name, tuple(files), self.notes, self.aside)


@dataclass(frozen=True)
class FetchedSources:
    """All sources of a recipe on this disk, those for validation last. Each was asked for once."""

    data: Data
    sources: tuple[Fetched, ...]

    def unpacked(self) -> "ResolvedSources":
        """Unpack all files. Raises as `fetch` does."""
        unpack = unpacked_skipping if self.data.on_error == "skip" else unpacked
        return ResolvedSources(self.data, tuple((each, each.unpacked(unpack)) for each in self.sources))


@dataclass(frozen=True)
class ResolvedSources:
    """The plain files of all sources of a recipe: whoever reads the rows takes this value and asks nobody again."""

    data: Data
    found: tuple[tuple[Fetched, Found], ...]

    @property
    def files(self) -> list[File]:
        """Every file that is read for training and validation, in a fixed order."""
        return [file for _, found in self.found for file in found.files]

    @property
    def paths(self) -> list[Path]:
        """Paths of `files`."""
        return [file.path for file in self.files]

    def training(self) -> list[OpenSource]:
        """Open the training sources. Raises `DataError`."""
        return [opened(each, found, self.data) for each, found in self.found if each.part == "train"]

    def validation(self) -> OpenSource | None:
        """Open the validation source; None where a share of the training rows validates instead. Raises `DataError`."""
        own = (opened(each, found, self.data) for each, found in self.found if each.part == "validation")
        return next(own, None)


class RecentFetches:
    """Recent fetches of a long-lived process, so that it does not ask a server again for each of its requests."""

    def __init__(self, known: FetchedSources | None = None) -> None:
        """`known` was fetched just now."""
        now = time.monotonic()
        self._known = {_key(one.source, one.part): (now, one) for one in (known.sources if known else ())}

    def fetch(self, source: Source, part: Part = "train", progress: Progress = silent) -> Fetched:
        """Fetch a source, asking about one that is elsewhere every `RECHECK_S` seconds. Raises as `fetch` does."""
        if scheme(source.path) not in (*WEB, "hf"):
            return fetch_source(source, part, progress)
        key = _key(source, part)
        since, fetched = self._known.get(key, (0.0, None))
        current = fetched is not None and time.monotonic() - since <= RECHECK_S
        if fetched is None or not current or not all(path.exists() for path, _ in fetched.files):
            fetched = fetch_source(source, part, progress)
            self._known[key] = time.monotonic(), fetched
        return fetched


def _key(source: Source, part: Part) -> tuple[object, ...]:
    most = source.max_samples if source.streaming else None
    return source.path, source.revision, source.config, source.split, source.streaming, most, part


def fetch(data: Data, progress: Progress = silent, recent: RecentFetches | None = None) -> FetchedSources:
    """Have all files of a recipe on this disk. Raises `DataError`, HubError, MachineError.

    `recent` knows what was fetched lately.
    """
    fetch_one = recent.fetch if recent else fetch_source
    return FetchedSources(data, tuple(fetch_one(source, part, progress) for source, part in everything(data)))


def resolve(data: Data, progress: Progress = silent, recent: RecentFetches | None = None) -> ResolvedSources:
    """Fetch and unpack all sources of a recipe. Raises as `fetch` does."""
    return fetch(data, progress, recent).unpacked()


def open_source(source: Source, data: Data, part: Part = "train") -> OpenSource:
    """Open one source of a recipe. Raises as `fetch` does."""
    fetched = fetch_source(source, part)
    unpack = unpacked_skipping if data.on_error == "skip" else unpacked
    return opened(fetched, fetched.unpacked(unpack), data)


def opened(fetched: Fetched, found: Found, data: Data) -> OpenSource:
    """Open the files of one source of a recipe. Raises `DataError`."""
    source = fetched.source
    tables = tuple(read(file.path, file.name, file.kind, source.sample_by) for file in found.files)
    notes = found.notes
    if fetched.part == "train" and "validation" in found.aside and _validation(data) is None:
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


def training(data: Data) -> list[Source]:
    """List the training sources of a recipe, each as a mapping."""
    named = data.train if isinstance(data.train, list) else [data.train]
    return [Source(path=source) if isinstance(source, str) else source for source in named]


def everything(data: Data) -> list[tuple[Source, Part]]:
    """List all sources of a recipe and what their rows are for, those for validation last."""
    found: list[tuple[Source, Part]] = [(source, "train") for source in training(data)]
    own = _validation(data)
    return [*found, (own, "validation")] if own is not None else found


def with_old_splits(data: Data) -> Data:
    """Copy of a recipe's data whose sources without a split are read as before ft knew splits.

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
    """Return True if a source has to be fetched before it can be read."""
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
    """Fetch one source and unpack its files. Raises as `fetch` does."""
    return fetch_source(source, part, progress).unpacked(unpack)


def fetch_source(source: Source, part: Part = "train", progress: Progress = silent) -> Fetched:
    """Have the files of one source on this disk. Raises as `fetch` does."""
    if source.path == STARTER:
        return Fetched(source, part, ((STARTER_ROWS / f"{part}.jsonl", f"starter/{part}.jsonl"),))
    kind = scheme(source.path)
    _no_idle_keys(source, kind)
    if kind in WEB:
        file = http.fetch(source.path, progress)
        return Fetched(source, part, ((file.path, file.name),), file.notes)
    if source.path.startswith(HUB):
        cached = hub.fetch(hub.wanted(source, part), progress)
        files = tuple((file.path, f"{cached.repo}/{file.name}") for file in cached.files)
        kinds = {file.path: file.kind for file in cached.files}
        return Fetched(source, part, files, cached.notes, cached.aside, cached.settings, kinds)
    if kind == "gdrive":
        return Fetched(source, part, (google_drive.fetch(source.path),))
    if kind and kind not in plugins.installed(plugins.SOURCES):
        raise DataError(
            f"{http.shown(source.path)}: addresses of {kind}:// are not read",
            f"Use https:// or {HUB}OWNER/NAME.",
        )
    place = str(_brought(kind, source)) if kind else source.path
    here = local.find(place, source.config, source.split, part)
    named = tuple((path, local.shown(path)) for path in here.paths)
    return Fetched(source, part, named, here.notes, here.aside, here.settings)


def spelled(text: str, folder: Path) -> Source:
    """Parse a source from a text: what `as_text` writes, or a path or address as typed in `folder`."""
    if text.startswith("{"):
        try:
            return Source.model_validate_json(text)
        except ValueError:
            pass  # a path that begins so
    return Source(path=data_source(text, folder))


def as_text(source: str | Source, part: Part = "train") -> str:
    """Write a source as one text: its path, or as JSON where more than that decides which rows it has.

    The split of a folder is included where `part` decides it.
    """
    named = Source(path=source) if isinstance(source, str) else source
    if part == "validation" and named.split is None and Path(named.path).expanduser().is_dir():
        with suppress(DataError):  # reported when it is opened
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
    """Raise `DataError` for a key that has no effect on its source."""
    parted = kind in ("hf", *plugins.installed(plugins.SOURCES)) or (
        not kind and Path(source.path).expanduser().is_dir()
    )
    idle = [key for key in ("config", "split") if getattr(source, key) and not parted]
    idle += ["revision"] if source.revision and kind != "hf" else []
    idle += ["streaming"] if source.streaming and kind != "hf" else []
    if idle:
        raise DataError(
            f"{shown(source)}: {idle[0]} has no effect on this source",
            "Datasets of the hub have a revision and can be streamed; they and folders have configs and splits. "
            "Leave it out.",
        )


def _plain(path: Path, name: str, settings: Mapping[str, Any], unpack: Unpack, made: str = "") -> File:
    """The file for a reader: unpacked, or converted by a builder of `datasets`; itself if `made` is its kind."""
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
    """Fetch a source by another package's function, which gets the address and a folder of its own in the cache."""
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
    secrets.adopt(secrets.carried(plugins.secrets_of(fetch)))
    return Path(fetch(path, folder))


def _validation(data: Data) -> Source | None:
    """The source of validation rows, if there is one: the starter ships its own, used unless another share is set."""
    if isinstance(data.validation, float | int):
        starter = [source.path for source in training(data)] == [STARTER]
        return Source(path=STARTER) if starter and data.validation == DEFAULT_SHARE else None
    return Source(path=data.validation) if isinstance(data.validation, str) else data.validation
