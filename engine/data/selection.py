"""Selection of the rows that a run uses: counted and drawn before any of them is converted."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
import numpy.typing as npt

from engine.data.formats.base import RowFormat
from engine.data.formats.detection import Detected, detect
from engine.data.readers.table import Keep, Origin
from engine.data.sources.resolve import OpenSource
from engine.data.unusable_rows import NAMED
from engine.errors import DataError

CHUNK = 1000
"""Rows that are converted and encoded together: enough to keep every core busy, few enough to hold in memory."""


@dataclass(frozen=True)
class Selection:
    """Sources with their detected formats, a mask over the rows of each, and notes about the choice."""

    sources: tuple[OpenSource, ...]
    detected: tuple[Detected, ...]
    keep: tuple[Keep, ...]
    notes: tuple[str, ...] = ()
    seed: int = 0
    unreadable: int = 0
    """Rows that were left out because they cannot be read, of all that the sources have."""

    @property
    def skip(self) -> bool:
        """True if rows that cannot be used are left out."""
        return any(source.skip for source in self.sources)

    @property
    def there(self) -> int:
        """Rows that the sources have, also those that are not selected."""
        return sum(map(len, self.keep))

    @cached_property
    def count(self) -> int:
        """Rows selected."""
        return sum(int(mask.sum()) for mask in self.keep)

    @cached_property
    def times(self) -> npt.NDArray[np.int64]:
        """Times that an epoch trains each selected row, int64 `[count]`: 1 unless its source has a weight above 1."""
        found = [
            np.full(int(mask.sum()), max(1, int(source.weight)), dtype=np.int64)
            for source, mask in zip(self.sources, self.keep, strict=True)
        ]
        for number, (source, times) in enumerate(zip(self.sources, found, strict=True)):
            if source.weight > 1:
                times += choose(len(times), round(source.weight % 1 * len(times)), self.seed + number)
        return np.concatenate(found)

    def chunks(self) -> Iterator[tuple[RowFormat, list[Origin]]]:
        """The selected rows in file order, in chunks of at most `CHUNK` rows of one format."""
        for source, detected, mask in zip(self.sources, self.detected, self.keep, strict=True):
            chunk: list[Origin] = []
            if not mask.any():
                continue
            for row in source.table.rows(None if mask.all() else mask):
                chunk.append(row)
                if len(chunk) == CHUNK:
                    yield detected.row_format, chunk
                    chunk = []
            if chunk:
                yield detected.row_format, chunk

    def places(self, numbers: Collection[int]) -> dict[int, str]:
        """Places of some of the selected rows, by number. Only those rows are read."""
        wanted = sorted(number for number in set(numbers) if 0 <= number < self.count)
        few = self.only(wanted)
        found: list[str] = []
        for source, mask in zip(few.sources, few.keep, strict=True):
            rows = source.table.rows(mask) if mask.any() else iter(())
            # Rows after the last of them are not read.
            found += [where for where, _ in islice(rows, int(mask.sum()))]
        return dict(zip(wanted, found, strict=True))

    def only(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> "Selection":
        """Some of the selected rows, by number."""
        places = np.flatnonzero(np.concatenate(self.keep))
        chosen = np.zeros(sum(map(len, self.keep)), dtype=np.bool_)
        chosen[places[np.asarray(numbers, dtype=np.int64)]] = True
        ends = np.cumsum([len(mask) for mask in self.keep])[:-1]
        return replace(self, keep=tuple(np.split(chosen, ends)))

    def limited(self, most: int | None, seed: int) -> "Selection":
        """At most so many of the rows, chosen by the seed from all sources alike."""
        if most is None or most >= self.count:
            return self
        return self.only(np.flatnonzero(choose(self.count, most, seed)))


def select(sources: Sequence[OpenSource], most: int | None, seed: int) -> Selection:
    """Count each source's rows, choose among them, and detect their format. Raises `DataError`."""
    keep: list[Keep] = []
    notes: list[str] = []
    unreadable = 0
    for number, source in enumerate(sources):
        mask, said, left_out = chosen_rows(source, seed, number)
        keep.append(mask)
        notes += said
        unreadable += left_out
    detected = tuple(
        detect(source.table.rows(mask if source.skip else None), source.choice, source.name)
        for source, mask in zip(sources, keep, strict=True)
    )
    found = Selection(tuple(sources), detected, tuple(keep), tuple(notes), seed, unreadable)
    return found.limited(most, seed)


def chosen_rows(source: OpenSource, seed: int, number: int = 0) -> tuple[Keep, list[str], int]:
    """Mask over the rows of a source, notes about the choice, and the number of rows that cannot be read.

    `number` is the source's among those of the recipe. Raises `DataError`.
    """
    notes = list(source.notes)
    mask = np.ones(source.table.count(), dtype=np.bool_)
    if not len(mask):
        raise DataError(f"{source.name}: there are no rows", "Put rows in it, or name another file.")
    unreadable = 0
    if source.skip:
        notes += _leave_out_broken(source, mask)
        unreadable = int((~mask).sum())
    if source.max_samples is not None:
        mask = _some(mask, source.max_samples, seed + number)
    if source.weight != 1:
        count = int(mask.sum())
        mask = _some(mask, max(1, round(source.weight * count)), seed + number)
        notes.append(_weighed(source, count, int(mask.sum()), seed))
    return mask, notes, unreadable


def _weighed(source: OpenSource, count: int, left: int, seed: int) -> str:
    """Note about the effect of a source's weight."""
    if source.weight < 1:
        return (
            f"{source.name}: weight {source.weight:g}: {left} of {count} rows are used, chosen by seed {seed}"
        )
    return f"{source.name}: weight {source.weight:g}: an epoch trains its rows {source.weight:g} times"


def _leave_out_broken(source: OpenSource, mask: Keep) -> list[str]:
    """Unset the rows that cannot be read, and name them in a note. Raises `DataError` if none is left."""
    problems = []
    for row, error in source.table.broken():
        mask[row] = False
        problems.append(error.message)
    if not problems:
        return []
    more = [f"and {len(problems) - NAMED:,} more"] if len(problems) > NAMED else []
    named = [*problems[:NAMED], *more]
    if not mask.any():
        lead = f"{source.name}: none of its {len(mask):,} rows can be read:"
        raise DataError("\n  ".join([lead, *named]), "Fix these rows, or name another file.")
    lead = f"{source.name}: {len(problems):,} of {len(mask):,} rows are broken and left out (on_error: skip):"
    return ["\n  ".join([lead, *named])]


def _some(mask: Keep, most: int, seed: int) -> Keep:
    """Mask with at most `most` of the places that are set, drawn by the seed."""
    places = np.flatnonzero(mask)
    if most >= len(places):
        return mask
    chosen = np.zeros(len(mask), dtype=np.bool_)
    chosen[places[choose(len(places), most, seed)]] = True
    return chosen


def choose(count: int, most: int, seed: int) -> Keep:
    """Mask over `count` places, `most` of them set, drawn by the seed."""
    mask = np.zeros(count, dtype=np.bool_)
    mask[np.random.default_rng(seed).choice(count, size=min(most, count), replace=False)] = True
    return mask
