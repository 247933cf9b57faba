"""Datasets of the Hugging Face hub: their files of rows, in the hub's own cache, which serves them without network."""

import fnmatch
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import secrets
from engine.data import kept_files
from engine.data.dataset_layout import Part, choose
from engine.errors import DataError, HubError
from engine.models.hub import client_bar, explained
from engine.models.starter import Progress, silent

PREFIX = "hf://datasets/"
ADDRESS = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<inside>.+))?")
RECHECK_S = 600.0
"""A process that has asked for a dataset's commit does not ask again so soon."""
_asked: dict[tuple[str | None, ...], tuple[float, "HubFiles"]] = {}


@dataclass(frozen=True)
class HubFiles:
    """The files of a split: their places on this disk, their names inside the dataset, and what is to be said."""

    repo: str
    files: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...] = ()
    aside: frozenset[str] = frozenset()
    """Splits that are not among them."""


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
    """What its rows are for, which chooses a split where none is named."""

    @property
    def key(self) -> tuple[str | None, ...]:
        """What the files are noted under; training rows as they were before there were others."""
        *named, part = vars(self).values()
        return (*named, *([part] if part != "train" else []))


def wanted(
    source: str, revision: str | None, config: str | None, split: str | None, part: Part = "train"
) -> Wanted:
    """What `hf://datasets/OWNER/NAME@REVISION/PATH` asks for. Raises `DataError`."""
    found = ADDRESS.fullmatch(source.removeprefix(PREFIX))
    if found is None:
        raise DataError(f"{source}: is no dataset of the hub", f"Write OWNER/NAME, or {PREFIX}OWNER/NAME.")
    return Wanted(found["repo"], revision or found["revision"], config, split, found["inside"], part)


def fetch(want: Wanted, progress: Progress = silent) -> HubFiles:
    """The files, downloaded where they are not cached. Without network, what is cached is used, and that is noted.

    Raises HubError where the hub cannot be reached or says no, `DataError` where the dataset has no such files,
    MachineError where the disk is full.
    """
    known = _asked.get(want.key)
    if known is None or time.monotonic() - known[0] > RECHECK_S:
        known = _asked[want.key] = time.monotonic(), _fetch(want, progress)
    return known[1]


def kept(want: Wanted) -> bool:
    """Whether the files were fetched before, whole. The hub is not asked."""
    return _kept(want) is not None


def _fetch(want: Wanted, progress: Progress) -> HubFiles:
    from huggingface_hub import HfApi

    token = secrets.get(secrets.HF_TOKEN)
    try:
        with explained(want.repo, want.revision, "dataset"):
            api = HfApi(token=token)
            info = api.dataset_info(want.repo, revision=want.revision, files_metadata=True)
    except HubError as error:
        # Only what a network may mend: a dataset that is gone or gated is told.
        if (found := _kept(want)) is None or not error.unreachable:
            raise
        return HubFiles(
            want.repo, found, (f"{want.repo}: the hub cannot be reached; what is cached is used",)
        )
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or ()}
    commit = str(info.sha)
    readme = ""
    if "README.md" in sizes:
        path = _download(want, "README.md", commit, token, silent)
        readme = path.read_text(encoding="utf-8", errors="replace")
    chosen = choose(_inside(want, list(sizes)), readme, want.config, want.split, want.repo, want.part)
    names = chosen.names
    total = sum(sizes[name] for name in names)
    done = 0

    def tell(note: str, more: int, _: int) -> None:
        progress(note, min(done + more, total), total)

    files: list[tuple[Path, str]] = []
    for name in names:
        files.append((_download(want, name, commit, token, tell), name))
        done += sizes[name]
    kept_files.tell(kept_files.key_of("hub", *want.key), {"commit": commit, "names": list(names)})
    notes = (f"{want.repo}: {_count(names)} of commit {commit[:12]}", chosen.note(want.repo))
    return HubFiles(
        want.repo, tuple(files), tuple(filter(None, notes)), frozenset(filter(None, chosen.aside))
    )


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


def _kept(want: Wanted) -> tuple[tuple[Path, str], ...] | None:
    """The files of an earlier time; None where one of them is not there any more."""
    from huggingface_hub import try_to_load_from_cache

    note = kept_files.about(kept_files.key_of("hub", *want.key))
    found = []
    for name in note.get("names", ()):
        path = try_to_load_from_cache(want.repo, name, repo_type="dataset", revision=note["commit"])
        if not isinstance(path, str) or not os.path.exists(path):  # noqa: PTH110 - a link may lead nowhere
            return None
        found.append((Path(path), name))
    return tuple(found) or None
