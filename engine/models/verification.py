"""Files of a model against what was published: checksums of the hub, and what a file shows by itself.

The hub's cache keeps each file under its checksum: sha256 of a large file, git's own hash of a small one. So a model
that came from the hub is verified to the bit, and without network. Of any other, the headers of the weights tell
whether a file is whole, and no weight may be NaN or infinite.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import ModelError
from engine.models import local
from engine.models.catalogue import Entry
from engine.models.hub import SHA256
from engine.models.weight_headers import read_header
from engine.models.weights import not_finite

GIT_HASH = re.compile("[0-9a-f]{40}")
PIECE = 16 << 20
"""Bytes that are hashed between two looks at the progress."""
State = Literal["as published", "whole", "damaged"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Checked:
    """A file that was verified."""

    name: str
    bytes: int
    state: State
    """`as published`: its checksum is the hub's. `whole`: nothing speaks against it, and no checksum is known."""
    problem: str = ""

    @property
    def damaged(self) -> bool:
        """True if it is not what it should be."""
        return self.state == "damaged"


def verify(entry: Entry, progress: Progress) -> Iterator[Checked]:
    """Each file of a model on this machine; `progress` gets a name, and bytes read so far and in all.

    Raises ModelError where there is no model to verify.
    """
    folder = entry.folder
    if folder is None:
        raise ModelError(f"{entry.name} is not on this machine.", f"Run: ft models pull {entry.name}")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    total, done = sum(path.stat().st_size for path in files), 0

    def read(size: int) -> None:
        progress(f"verifying {entry.name}", done + size, total)

    for path in files:
        yield check_file(path, folder, read)
        done += path.stat().st_size


def check_file(path: Path, folder: Path, read: Callable[[int], None]) -> Checked:
    """One file of a model's `folder`; `read` gets the bytes read so far."""
    name, size = path.relative_to(folder).as_posix(), path.stat().st_size
    blob = path.resolve()
    if blob.parent.name == "blobs" and (expected := checksum_in(blob.name)):
        kind, found = expected, _hash(blob, expected, size, read)
        if found == blob.name:
            return Checked(name, size, "as published")
        return Checked(name, size, "damaged", f"its {kind} is {found}, the hub's is {blob.name}")
    problem = _own_problem(path) if path.suffix == ".safetensors" else ""
    read(size)
    return Checked(name, size, "damaged" if problem else "whole", problem)


def checksum_in(name: str) -> Literal["sha256", "git hash"] | None:
    """The kind of checksum that a file of the hub's cache is named by; None where it is none."""
    if SHA256.fullmatch(name):
        return "sha256"
    return "git hash" if GIT_HASH.fullmatch(name) else None


def _hash(path: Path, kind: str, size: int, read: Callable[[int], None]) -> str:
    """The file's checksum. Git hashes the word blob, the length and a zero byte before the content."""
    digest = (
        hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    )
    done = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            done += len(piece)
            read(done)
    return digest.hexdigest()


def _own_problem(path: Path) -> str:
    """What is wrong with a file of weights by itself; empty where nothing is."""
    try:
        read_header(path)
        bad = not_finite(path)
    except ModelError as error:
        return error.message
    return f"{', '.join(bad[:3])}: NaN or infinity" if bad else ""


def drop(entry: Entry, damaged: list[Checked]) -> None:
    """Remove damaged files of a hub model from the cache, so that `ft models pull` fetches them again.

    Raises ModelError where the model is a folder, which has nothing to be fetched from.
    """
    if entry.source != "hub" or entry.folder is None:
        raise ModelError(
            f"{entry.name} did not come from the hub's cache; ft does not know where its files are from.",
            "Copy the damaged files from their source again.",
        )
    for file in damaged:
        path = entry.folder / file.name
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def missing(entry: Entry) -> str:
    """What the model lacks to be used; empty where it lacks nothing."""
    if entry.folder is None:
        return ""
    try:
        local.check(entry.folder)
    except ModelError as error:
        return error.message
    return ""
