"""The models on this machine: the starter, and what the hub's cache holds."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine import paths
from engine.errors import ModelError
from engine.models import hub, local, starter

State = Literal["ready", "packaged", "absent", "incomplete"]


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


def entries() -> list[Entry]:
    """The starter first, whatever its state, then the hub models by name, newest revision only."""
    return [_starter(), *_cached()]


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
    local.check(folder)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return Entry(folder.absolute().name, "ready", folder.absolute(), size)


def remove(entry: Entry) -> None:
    """Delete the model from this disk: the converted starter, or every revision in the hub's cache.

    Raises ModelError where there is nothing to remove, or the folder is the person's own.
    """
    if entry.name == starter.NAME:
        if entry.folder is None:
            raise ModelError("The starter has not been converted; there is nothing to remove.")
        shutil.rmtree(entry.folder)
        shutil.rmtree(paths.cache() / starter.NAME, ignore_errors=True)
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


def _starter() -> Entry:
    if starter.is_ready():
        folder = starter.folder()
        return Entry(starter.NAME, "ready", folder, sum(path.stat().st_size for path in folder.iterdir()))
    return Entry(starter.NAME, "packaged" if starter.packaged_gguf() else "absent", None, 0)


def _cached() -> list[Entry]:
    """Models in the hub's cache that have safetensors weights."""
    from huggingface_hub import scan_cache_dir

    found = []
    for repo in scan_cache_dir(hub.cache()).repos:
        if repo.repo_type != "model" or not repo.revisions:
            continue
        newest = max(repo.revisions, key=lambda revision: revision.last_modified)
        names = {file.file_name for file in newest.files}
        if any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names):
            state: State = "ready" if _is_whole(newest.snapshot_path) else "incomplete"
            found.append(
                Entry(repo.repo_id, state, newest.snapshot_path, repo.size_on_disk, newest.commit_hash)
            )
    return sorted(found, key=lambda entry: entry.name)


def _is_whole(folder: Path) -> bool:
    try:
        local.check(folder)
    except ModelError:
        return False
    return True
