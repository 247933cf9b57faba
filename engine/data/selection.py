"""Which rows of which sources a run uses: counted and chosen before any of them is converted."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.data.detection import Detected, detect
from engine.data.form import Form
from engine.data.rows import Keep, Origin
from engine.data.sources import OpenSource
from engine.errors import DataError

CHUNK = 1000
"""Rows that are converted and encoded at once: enough to keep every core busy, little enough to hold."""


@dataclass(frozen=True)
class Selection:
    """Sources with their detected forms, and a mask over the rows of each."""

    sources: tuple[OpenSource, ...]
    detected: tuple[Detected, ...]
    keep: tuple[Keep, ...]

    @property
    def count(self) -> int:
        """Rows selected."""
        return sum(int(mask.sum()) for mask in self.keep)

    def chunks(self) -> Iterator[tuple[Form, list[Origin]]]:
        """The selected rows in file order, at most `CHUNK` of one form at a time."""
        for source, detected, mask in zip(self.sources, self.detected, self.keep, strict=True):
            chunk: list[Origin] = []
            for row in source.table.rows(None if mask.all() else mask):
                chunk.append(row)
                if len(chunk) == CHUNK:
                    yield detected.form, chunk
                    chunk = []
            if chunk:
                yield detected.form, chunk

    def places(self, numbers: Collection[int]) -> dict[int, str]:
        """Where some of the selected rows stand, by number; only they are read."""
        found: dict[int, str] = {}
        first = 0
        for source, mask in zip(self.sources, self.keep, strict=True):
            here = np.flatnonzero(mask)
            wanted = sorted(number - first for number in numbers if 0 <= number - first < len(here))
            few = np.zeros(len(mask), dtype=np.bool_)
            few[here[wanted]] = True
            rows = source.table.rows(few) if wanted else ()
            found |= {first + number: where for number, (where, _) in zip(wanted, rows, strict=True)}
            first += len(here)
        return found

    def limited(self, most: int | None, seed: int) -> "Selection":
        """At most so many of the rows, chosen by the seed from all sources alike."""
        if most is None or most >= self.count:
            return self
        places = np.flatnonzero(np.concatenate(self.keep))
        chosen = np.zeros(sum(map(len, self.keep)), dtype=np.bool_)
        chosen[places[choose(len(places), most, seed)]] = True
        ends = np.cumsum([len(mask) for mask in self.keep])[:-1]
        return replace(self, keep=tuple(np.split(chosen, ends)))


def select(sources: Sequence[OpenSource], most: int | None, seed: int) -> Selection:
    """Count each source's rows, choose among them, and detect their form. Raises `DataError`."""
    keep = []
    for number, source in enumerate(sources):
        mask = np.ones(source.table.count(), dtype=np.bool_)
        if not len(mask):
            raise DataError(f"{source.name}: there are no rows", "Put rows in it, or name another file.")
        if source.max_samples is not None and source.max_samples < len(mask):
            mask = choose(len(mask), source.max_samples, seed + number)
        keep.append(mask)
    detected = tuple(detect(source.table.rows(), source.choice, source.name) for source in sources)
    return Selection(tuple(sources), detected, tuple(keep)).limited(most, seed)


def choose(count: int, most: int, seed: int) -> Keep:
    """A mask over `count` with `most` places set, by the seed."""
    mask = np.zeros(count, dtype=np.bool_)
    mask[np.random.default_rng(seed).choice(count, size=min(most, count), replace=False)] = True
    return mask
