"""The hub's cache as its client reads it: repositories, revisions, and files that no revision has. Needs no network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.housekeeping.disk import BLOCK, is_own_folder

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo

UNFINISHED = (".incomplete", ".part")
"""Ends of the names of files that are being fetched: the client's, and ours."""


@dataclass(frozen=True)
class Revision:
    """A commit of a repository in the cache. `blobs` are the bytes on disk of the files that it has."""

    repo: str
    kind: str
    """`model`, `dataset` or `space`."""
    commit: str
    refs: frozenset[str]
    """Branches and tags that mean it; none where it is detached."""
    snapshot: Path
    blobs: Mapping[Path, int]
    changed: float
    """Unix seconds of the newest file."""


@dataclass(frozen=True)
class Repository:
    """One repository of the cache; its revisions, the newest first, and none where they lie behind a link."""

    name: str
    kind: str
    folder: Path
    revisions: tuple[Revision, ...]

    def strays(self) -> list[Path]:
        """Files of its blobs that no revision has: downloads that were cut."""
        if not _is_here(self.folder):
            return []
        had = {blob.name for revision in self.revisions for blob in revision.blobs}
        try:
            files = sorted((self.folder / "blobs").iterdir())
        except OSError:
            return []
        return [path for path in files if path.name not in had and not path.name.endswith(".lock")]


def folder() -> Path:
    """The cache's folder (HF_HUB_CACHE, HF_HOME), whether it is there or not."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def scan() -> tuple[list[Repository], list[str]]:
    """The repositories that the client can read, and what is wrong with the others. Never raises for what is there."""
    if not folder().is_dir():
        return [], []
    from huggingface_hub import scan_cache_dir

    try:
        found = scan_cache_dir(folder())
    except (OSError, ValueError) as error:
        return [], [f"The hub's cache cannot be read: {error}"]
    repositories = [_repository(repo) for repo in found.repos if is_own_folder(repo.repo_path)]
    return sorted(repositories, key=lambda repo: (repo.kind, repo.name)), [
        str(warning) for warning in found.warnings
    ]


def _repository(repo: "CachedRepoInfo") -> Repository:
    revisions = [
        Revision(
            repo=repo.repo_id,
            kind=repo.repo_type,
            commit=one.commit_hash,
            refs=frozenset(one.refs),
            snapshot=one.snapshot_path,
            blobs={
                file.blob_path: _bytes(file.blob_path) for file in one.files if _is_in(repo, file.blob_path)
            },
            changed=one.last_modified,
        )
        for one in repo.revisions
        if _is_here(repo.repo_path) and is_own_folder(one.snapshot_path)
    ]
    newest_first = sorted(revisions, key=lambda one: (one.changed, one.commit), reverse=True)
    return Repository(repo.repo_id, repo.repo_type, repo.repo_path, tuple(newest_first))


def _is_here(repo: Path) -> bool:
    """Return True unless a repository's files lie behind a link."""
    return is_own_folder(repo / "blobs") and is_own_folder(repo / "snapshots")


def _is_in(repo: "CachedRepoInfo", blob: Path) -> bool:
    """Return True for a file of the repository; a link in a snapshot may lead anywhere."""
    return blob.parent == repo.repo_path / "blobs" or blob.is_relative_to(repo.repo_path / "snapshots")


def _bytes(blob: Path) -> int:
    """Bytes on disk. A link into a store that repositories share counts as a link: unlinking it frees no more."""
    try:
        return blob.lstat().st_blocks * BLOCK
    except OSError:
        return 0
