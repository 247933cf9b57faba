"""Upload of files to a repository of the hub, as one commit; what an earlier try has sent is not sent again.

Large files go into the hub's storage one by one and stay there, so that a push that was cut off, also by the end of
its process, continues with the file at which it ended. Nothing shows in the repository before the last is there.
"""

import io
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.models.starter import Progress
from engine.publishing.files import PushedFiles
from engine.publishing.hub_errors import explained, not_public, other_kind

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

MAIN = "main"
ADAPTER, WHOLE = "adapter_config.json", "config.json"
"""Files by which programs tell an adapter from a whole model."""


@dataclass(frozen=True)
class Target:
    """Repository and branch to push to, and who may see it."""

    repo: str
    public: bool = False
    branch: str = MAIN


@dataclass(frozen=True)
class Pushed:
    """A commit that is on the hub."""

    url: str
    commit: str
    missing: tuple[str, ...] = ()
    """Files that the repository left out, as its .gitignore says."""


def only_lfs() -> None:
    """Have the hub's client upload by LFS, for a process of its own, before the client is imported.

    With Xet it has no way back where that storage cannot be reached, and a push that was cut off begins again.
    """
    os.environ["HF_HUB_DISABLE_XET"] = "1"


def push(
    files: PushedFiles,
    made: Mapping[str, bytes],
    target: Target,
    message: str,
    token: str,
    progress: Progress,
) -> Pushed:
    """Make the repository where it is missing, upload, and commit.

    `made` are files that take the place of the folder's. `progress` gets bytes done and in all; what it raises ends the
    push. Raises HubError where the hub says no or cannot be reached, ConfigError where the repository holds something
    else or is public, MachineError where a file cannot be read.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with explained(target.repo), ExitStack() as opened:
        _prepare(api, target, {*files.sizes, *made})
        operations = _upload(api, files, made, target, progress, opened)
        done = api.create_commit(
            target.repo, operations, commit_message=message, revision=target.branch, token=token
        )
        there = set(api.list_repo_files(target.repo, revision=done.oid))
    missing = tuple(sorted({*files.sizes, *made} - there))
    return Pushed(done.commit_url, done.oid, missing)


def _prepare(api: "HfApi", target: Target, names: set[str]) -> None:
    """See that repository and branch are there, and fit what is pushed."""
    api.create_repo(target.repo, private=not target.public, exist_ok=True)
    info = api.repo_info(target.repo)
    if not info.private and not target.public:
        raise not_public(target.repo)
    if target.branch != MAIN:
        api.create_branch(target.repo, branch=target.branch, exist_ok=True)
    there = set(api.list_repo_files(target.repo, revision=target.branch))
    for mine, other in ((ADAPTER, WHOLE), (WHOLE, ADAPTER)):
        if mine in names and other in there and mine not in there:
            raise other_kind(target.repo, mine == ADAPTER)


def _upload(
    api: "HfApi",
    files: PushedFiles,
    made: Mapping[str, bytes],
    target: Target,
    progress: Progress,
    opened: ExitStack,
) -> "list[CommitOperationAdd]":
    """Send the large files, the smallest first: one that may not be written is then noticed soon.

    Files stay open in `opened`: small ones are read again for the commit.
    """
    from huggingface_hub import CommitOperationAdd

    sizes = {name: size for name, size in files.sizes.items() if name not in made}
    total, done = sum(sizes.values()), 0
    operations = [CommitOperationAdd(name, body) for name, body in made.items()]
    for name in sorted(sizes, key=sizes.__getitem__):
        file = opened.enter_context(_open(files.folder / name))
        file.tell_at = _telling(f"reading {name}", done, total, progress)
        operation = CommitOperationAdd(name, file)
        file.tell_at = _telling(f"uploading {name} to {target.repo}", done, total, progress)
        api.preupload_lfs_files(target.repo, [operation], revision=target.branch)
        done += sizes[name]
        progress(f"uploading to {target.repo}", done, total)  # also where the hub had it already
        file.tell_at = lambda at: progress(f"committing to {target.repo}", total, total)
        operations.append(operation)
    return operations


def _telling(note: str, before: int, total: int, progress: Progress) -> Callable[[int], None]:
    def tell(at: int) -> None:
        progress(note, before + at, total)

    return tell


class _Counted(io.BufferedReader):
    """A file that tells how far it has been read. What `tell_at` raises ends the reading."""

    tell_at: Callable[[int], None]

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.tell_at(self.tell())
        return data


def _open(path: Path) -> _Counted:
    """A file for reading, no link followed. Raises OSError."""
    return _Counted(io.FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)))
