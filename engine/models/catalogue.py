"""The models on this machine: the starter, folders in the models folder, and what the hub's cache holds."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine import paths
from engine.errors import MachineError, ModelError
from engine.models import hub, starter

State = Literal["ready", "packaged", "absent", "incomplete"]
Source = Literal["starter", "folder", "hub"]

COMMIT = re.compile("[0-9a-f]{40}")
"""A whole commit id, whose files never change."""


@dataclass(frozen=True)
class Entry:
    """One model. `bytes` is what it takes on disk; `revision` the commit of a hub model.

    `packaged`: the starter is installed as a package and is converted when it is first used.
    """

    name: str
    state: State
    folder: Path | None
    bytes: int
    revision: str | None = None
    source: Source = "folder"

    @property
    def base(self) -> str:
        """Value of `model.base` that trains it."""
        return str(self.folder) if self.source == "folder" else self.name


def state_of(folder: Path) -> State:
    """`ready` for a folder with a whole model, else `incomplete`."""
    return "ready" if _is_whole(folder) else "incomplete"


def entries(state_of: Callable[[Path], State] = state_of) -> list[Entry]:
    """The starter first, whatever its state, then folders and hub models by name, newest revision only.

    `state_of` is asked for the state of each folder.
    """
    found = [*_folders(state_of), *_cached(state_of)]
    return [_starter(), *sorted(found, key=lambda entry: entry.name.lower())]


def find(name: str) -> Entry:
    """The entry called `name`, or a model's local folder. Raises ModelError where there is neither."""
    for entry in entries():
        if entry.name == name:
            return entry
    folder = Path(name).expanduser()
    if not folder.exists():
        known = ", ".join(entry.name for entry in entries())
        raise ModelError(
            f"There is no model {name} on this machine.", f"There are: {known}. Fetch: ft models pull {name}"
        )
    from engine.models import local

    local.check(folder)
    return Entry(folder.absolute().name, "ready", folder.absolute(), _bytes(folder))


def at_commit(name: str, commit: str) -> Entry | None:
    """A hub model as of a commit, if all of it is here; None otherwise, and for a branch or tag.

    The hub is not asked.
    """
    folder = hub.cached(name, commit) if COMMIT.fullmatch(commit) else None
    if folder is None or state_of(folder) != "ready":
        return None
    return Entry(name, "ready", folder, _bytes(folder), commit, source="hub")


def remove(entry: Entry) -> None:
    """Delete the model from this disk: the converted starter, a folder in the models folder (of a link, the
    link alone), or every revision in the hub's cache.

    Raises ModelError where there is nothing to remove, or the folder is the person's own, MachineError where
    the system does not let it go.
    """
    with _explained(entry):
        _remove(entry)


def _remove(entry: Entry) -> None:
    if entry.name == starter.NAME:
        if entry.folder is None:
            raise ModelError("The starter has not been converted; there is nothing to remove.")
        _remove_folder(entry.folder)
        shutil.rmtree(paths.cache() / starter.NAME, ignore_errors=True)
        return
    if entry.folder is not None and entry.source == "folder" and entry.folder.parent == paths.models():
        _remove_folder(entry.folder)
        return
    from huggingface_hub import scan_cache_dir

    cache = scan_cache_dir(hub.cache())
    commits = [
        revision.commit_hash
        for repo in cache.repos
        if repo.repo_type == "model" and repo.repo_id == entry.name
        for revision in repo.revisions
    ]
    if not commits:
        raise ModelError(
            f"{entry.folder} is a folder of your own; ft does not remove it.", "Delete it yourself."
        )
    cache.delete_revisions(*commits).execute()


@contextmanager
def _explained(entry: Entry) -> Iterator[None]:
    """Turn what the machine refuses into a MachineError."""
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"Cannot remove {error.filename or entry.folder}: {error.strerror or error}.",
            "Check the folder's owner; part of the model may already be removed.",
        ) from error


def _remove_folder(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _starter() -> Entry:
    if starter.is_ready():
        return Entry(starter.NAME, "ready", starter.folder(), _bytes(starter.folder()), source="starter")
    state: State = "packaged" if starter.packaged_gguf() else "absent"
    return Entry(starter.NAME, state, None, 0, source="starter")


def _folders(state_of: Callable[[Path], State]) -> list[Entry]:
    """Models that a person has put, or linked, into the models folder."""
    if not paths.models().is_dir():
        return []
    return [
        Entry(folder.name, state_of(folder), folder, _bytes(folder))
        for folder in paths.models().iterdir()
        if folder.name != starter.NAME and not folder.name.startswith(".") and folder.is_dir()
    ]


def _cached(state_of: Callable[[Path], State]) -> list[Entry]:
    """Models in the hub's cache that have safetensors weights, or whose download was cut."""
    if not any(hub.cache_place().glob("models--*")):
        return []  # the hub's client is not worth loading for an empty cache
    from huggingface_hub import scan_cache_dir

    found = []
    for repo in scan_cache_dir(hub.cache()).repos:
        if repo.repo_type != "model" or not repo.revisions:
            continue
        newest = max(repo.revisions, key=lambda revision: revision.last_modified)
        names = {file.file_name for file in newest.files}
        weights = any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names)
        cut = any((repo.repo_path / "blobs").glob("*.part"))
        if weights or cut:
            state = state_of(newest.snapshot_path)
            size = repo.size_on_disk
            found.append(
                Entry(repo.repo_id, state, newest.snapshot_path, size, newest.commit_hash, source="hub")
            )
    return found


def _bytes(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.is_file())


def _is_whole(folder: Path) -> bool:
    from engine.models import (
        local,  # with numpy: only where something has changed, see planning/model_table.py
    )

    try:
        local.check(folder)
    except ModelError:
        return False
    return True
