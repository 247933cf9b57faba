"""Datasets of the Hugging Face hub: their files of rows, in the hub's own cache, which serves them without network."""

import fnmatch
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from engine import secrets
from engine.config.sections import Source
from engine.data.sources import file_cache
from engine.data.sources.file_cache import check_free_space
from engine.data.sources.hub_scripts import nothing_to_read, script_note
from engine.data.sources.hub_streams import HubFile, streamed
from engine.data.sources.layout import choose, holds_rows
from engine.data.sources.splits import Chosen, Part
from engine.errors import DataError, HubError
from engine.models.hub import cache, client_bar, explained
from engine.models.starter import Progress, silent

PREFIX = "hf://datasets/"
ADDRESS = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?(?:/(?P<inside>.+))?"
)
STREAM = "Free some space, or read only its first rows: streaming: true and max_samples with the source."


@dataclass(frozen=True)
class HubFiles:
    """Files of a split, and notes about them."""

    repo: str
    files: tuple[HubFile, ...]
    notes: tuple[str, ...] = ()
    aside: frozenset[str] = frozenset()
    """Splits that are not among them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Reader settings that the README declares."""


@dataclass(frozen=True)
class Wanted:
    """A dataset's `OWNER/NAME`, and which of its files."""

    repo: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    inside: str | None = None
    """A file or folder in it, or a pattern."""
    part: Part = "train"
    """Purpose of its rows, which decides the split where none is named."""
    streamed: int | None = None
    """Read so many rows over the network; None fetches the files."""

    @property
    def key(self) -> tuple[object, ...]:
        """Key of the note on the files; that of fetched training files is as it was before there were others."""
        *named, part, streamed = vars(self).values()
        return (*named, *([part, streamed] if part != "train" or streamed else []))


def wanted(source: Source, part: Part = "train") -> Wanted:
    """Parse a source with the path `hf://datasets/OWNER/NAME@REVISION/PATH`. Raises `DataError`."""
    found = ADDRESS.fullmatch(source.path.removeprefix(PREFIX))
    if found is None:
        raise DataError(
            f"{source.path}: is not a dataset of the hub", f"Write OWNER/NAME, or {PREFIX}OWNER/NAME."
        )
    revision = source.revision or (unquote(found["revision"]) if found["revision"] else None)
    most = source.max_samples if source.streaming else None
    return Wanted(found["repo"], revision, source.config, source.split, found["inside"], part, most)


def is_cached(want: Wanted) -> bool:
    """Return True if all files are cached. Does not ask the hub."""
    return _cached_files(want) is not None


def fetch(want: Wanted, progress: Progress = silent) -> HubFiles:
    """Fetch the files that are not cached. Without network, what is cached is used, with a note.

    Raises HubError where the hub cannot be reached or refuses, `DataError` where the dataset has no such files,
    MachineError where the disk is full.
    """
    from huggingface_hub import HfApi

    token = secrets.get(secrets.HF_TOKEN)
    try:
        with explained(want.repo, want.revision, "dataset"):
            api = HfApi(token=token)
            info = api.dataset_info(want.repo, revision=want.revision, files_metadata=True)
    except HubError as error:
        # Only for what a network may fix: a dataset that is gone or gated is an error.
        if (found := _cached_files(want)) is None or not error.unreachable:
            raise
        return found
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or ()}
    commit = str(info.sha)
    readme = ""
    if "README.md" in sizes:
        path = _download(want, "README.md", commit, token, silent)
        readme = path.read_text(encoding="utf-8", errors="replace")
    names = _inside(want, list(sizes))
    if not any(map(holds_rows, names)):
        raise nothing_to_read(api, want.repo, names)
    chosen = (
        Chosen((want.inside,))  # a file is asked for by its name, whatever that says
        if want.inside in sizes
        else choose(names, readme, want.config, want.split, want.repo, want.part)
    )
    if want.streamed is None:
        files = _downloaded(want, {name: sizes[name] for name in chosen.names}, commit, token, progress)
        what = _count(chosen.names)
    else:

        def fetched(name: str) -> Path:
            return _download(want, name, commit, token, progress)

        files = tuple(streamed(want.repo, commit, chosen, want.streamed, token, fetched, progress))
        what = f"the first {want.streamed:,} rows of {_count(chosen.names)}"
    _note(want, commit, files, chosen.settings)
    notes = (f"{want.repo}: {what} of commit {commit[:12]}", chosen.note(want.repo))
    script = script_note(api, want.repo, list(sizes))
    return HubFiles(
        want.repo,
        files,
        tuple(filter(None, (*notes, script))),
        frozenset(filter(None, chosen.aside)),
        chosen.settings,
    )


def _downloaded(
    want: Wanted, sizes: Mapping[str, int], commit: str, token: str | None, progress: Progress
) -> tuple[HubFile, ...]:
    """The files, in the hub's own cache. Raises MachineError where they do not fit on the disk."""
    total, done = sum(sizes.values()), 0
    missing = sum(size for name, size in sizes.items() if _cached(want.repo, name, commit) is None)
    if missing:
        check_free_space(cache(), missing, STREAM)

    def tell(note: str, more: int, _: int) -> None:
        progress(note, min(done + more, total), total)

    files: list[HubFile] = []
    for name, size in sizes.items():
        files.append(HubFile(_download(want, name, commit, token, tell), name))
        done += size
    return tuple(files)


def _note(want: Wanted, commit: str, files: Sequence[HubFile], settings: Mapping[str, Any]) -> None:
    """Note which files there are, for use when the hub cannot be reached."""
    about: dict[str, Any] = {
        "commit": commit,
        "names": [file.name for file in files],
        "settings": dict(settings),
    }
    if want.streamed:
        about["rows"] = [[str(file.path), file.name, file.kind] for file in files]
    file_cache.write_note(file_cache.key_of("hub", *want.key), about)


def _count(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files ({names[0]} …)"


def _inside(want: Wanted, names: list[str]) -> list[str]:
    if want.inside is None:
        return names
    inside = want.inside.rstrip("/")
    return [n for n in names if n == inside or n.startswith(f"{inside}/") or fnmatch.fnmatchcase(n, inside)]


def _download(want: Wanted, name: str, commit: str, token: str | None, progress: Progress) -> Path:
    """A file of a commit, from the cache where it is there."""
    from huggingface_hub import hf_hub_download

    bar = client_bar(want.repo, progress)
    with explained(want.repo, want.revision, "dataset"):
        path = hf_hub_download(
            want.repo, name, repo_type="dataset", revision=commit, token=token, tqdm_class=bar
        )
    return Path(path)


def _cached(repo: str, name: str, commit: str) -> Path | None:
    """A file of a commit in the hub's cache; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, name, repo_type="dataset", revision=commit)
    there = isinstance(path, str) and os.path.exists(path)  # noqa: PTH110 - a link may lead nowhere
    return Path(path) if there else None  # type: ignore[arg-type]


def _cached_files(want: Wanted) -> HubFiles | None:
    """Cached files; None if one of them is missing."""
    note = file_cache.read_note(file_cache.key_of("hub", *want.key))
    if want.streamed:
        files = [HubFile(Path(path), name, kind) for path, name, kind in note.get("rows", ())]
        whole = all(file.path.is_file() for file in files)
    else:
        found = {name: _cached(want.repo, name, note["commit"]) for name in note.get("names", ())}
        files = [HubFile(path, name) for name, path in found.items() if path is not None]
        whole = len(files) == len(found)
    if not files or not whole:
        return None
    said = f"{want.repo}: the hub cannot be reached; what is cached is used"
    return HubFiles(want.repo, tuple(files), (said,), settings=note.get("settings", {}))
