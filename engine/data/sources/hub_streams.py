"""The first rows of a hub dataset, read over the network without fetching its files, and kept as JSON lines."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from engine.data.readers.registry import ROWS, kind_of
from engine.data.sources import datasets_builders, file_cache
from engine.data.sources.archives import opened, packed_by, unpacked
from engine.data.sources.datasets_builders import Built
from engine.data.sources.splits import Chosen
from engine.models.hub import explained
from engine.models.starter import Progress

LINES = (".jsonl", ".ndjson")
"""Kinds of files that are copied line by line, so that nothing about their rows is guessed."""
BLOCK = 1 << 20
"""Bytes of one request."""


@dataclass(frozen=True)
class HubFile:
    """A file of a dataset: its place on this disk, and its name in the dataset.

    `kind` is what it was written as where it holds rows that were read of that file; empty for the file itself.
    """

    path: Path
    name: str
    kind: str = ""


def streamed(
    repo: str,
    commit: str,
    chosen: Chosen,
    most: int,
    token: str | None,
    fetched: Callable[[str], Path],
    progress: Progress,
) -> Iterator[HubFile]:
    """The files, one after the other, as far as they hold the first `most` rows.

    `fetched` gives a file of the dataset whole: archives and others that cannot be read in part are read so, one by one
    as they are needed. Raises `DataError` where a file is not what its kind says, HubError, MachineError.
    """
    left = most
    for name in chosen.names:
        if left <= 0:
            return
        progress(f"reading the first rows of {name}", 0, 0)
        kind = kind_of(name)
        file = Built(f"hf://datasets/{repo}@{commit}/{name}", f"{repo}/{name}", kind, chosen.settings, token)
        key = ("hub", repo, commit, name)
        with explained(repo, commit, "dataset"):
            if kind in LINES and not chosen.settings:
                path, made = _lines(file, key, left), ".jsonl"
            else:
                if kind not in datasets_builders.REMOTE:
                    whole, packed = fetched(name), packed_by(name)
                    whole = unpacked(whole, file.name, packed, kind) if packed else whole
                    file = replace(file, place=str(whole))
                path, made = datasets_builders.written(file, key, left), ROWS
        with path.open("rb") as rows:
            left -= sum(1 for _ in rows)
        yield HubFile(path, name, made)


def _lines(file: Built, key: tuple[object, ...], most: int) -> Path:
    """The first lines of a file of JSON lines, compressed or not."""
    from huggingface_hub import HfFileSystem

    packed = packed_by(file.name)

    def write(making: Path) -> None:
        file_cache.check_free_space(making.parent)
        with (
            HfFileSystem(token=file.token).open(file.place, block_size=BLOCK) as remote,
            ExitStack() as stack,
        ):
            plain: Any = stack.enter_context(opened(remote, file.name, packed)) if packed else remote
            lines = plain if packed != ".zst" else io.BufferedReader(plain)
            with making.open("wb") as out:
                out.writelines(islice((line for line in lines if line.strip()), most))

    return file_cache.get_or_make(file_cache.key_of("lines", most, *key), ".jsonl", write)
