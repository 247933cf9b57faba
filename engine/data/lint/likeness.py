"""Near-duplicate rows among a million: MinHash finds pairs, and sketches of their words decide.

A row is the set of its shingles: runs of `SHINGLE` words, case and punctuation left out. Two rows have the same least
hash under a random permutation with the probability of their Jaccard similarity (Broder 1997, "On the resemblance
and containment of documents"). Rows that agree in all hashes of one band are compared (Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4): at a similarity s that finds 1 - (1 - s^4)^16 of the pairs, 99.98 % of those
at 0.8 and all but 4 in a hundred million at 0.9.

Compared are the sets themselves, or of rows with more than `SKETCH` shingles the `SKETCH` least of their hashes, where
the similarity is estimated with a standard deviation of 0.02 at 0.9 (bottom-k, section 3 of Broder's paper). Sixty-four
least hashes alone would have one of 0.04, and miss one pair in two hundred that is 0.9 alike.
"""

import re
import tempfile
import weakref
import zlib
from array import array
from collections.abc import Iterable
from itertools import chain, pairwise
from typing import IO

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
SHINGLE = 3
BANDS, ROWS = 16, 4
PERMUTATIONS = BANDS * ROWS
ALIKE = 0.8
"""Similarity from which two rows are near duplicates."""
SKETCH = 256
"""Hashes that are kept of a row's shingles."""
WORTH_IT = 0.6
"""Share of equal least hashes from which two rows are compared: four standard deviations below `ALIKE`."""
NEAREST = 8
"""Rows of one band, the first ones, that each other is compared with: thousands may share a page's header."""
LONGEST = 1_000_000
"""Most characters of a row that are compared: a book is known by its first million."""
FEWEST = 8
"""Words from which rows are compared: short answers are alike and mean nothing by it."""
WORD = re.compile(r"\w+")
APART = {code: " " for code in range(128) if not WORD.match(chr(code))}
"""Translation that separates words in ASCII text, which most text is, and is faster this way."""
ODD = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 1 << 14
"""Shingles, and rows, that are worked on together: what a core's cache holds."""
COMPARED = 1 << 11
"""Pairs whose sketches are compared together: at most 8 MB of hashes."""
KNOWN_WORDS = 1 << 17
"""Words whose hashes are kept."""


class Likeness:
    """Collects the texts of rows, and finds those that are alike.

    What is kept of them lies in temporary files, 256 bytes a row and 4 a shingle, of which 256 count.
    """

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self._factors = draw.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
        self._offsets = draw.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64)
        self._file, self._sketches = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - they live
        for file in (self._file, self._sketches):  # as long as this object
            weakref.finalize(self, file.close)
        self._numbers, self._sizes = array("q"), array("q")
        self._words = _Words()

    def add(self, texts: Iterable[tuple[int, str]]) -> None:
        """Rows by their number, a chunk at a time. Raises OSError where the disk takes no more."""
        rows = [(number, words) for number, text in texts if len(words := _words(text[:LONGEST])) >= FEWEST]
        if not rows:
            return
        lengths = np.array([len(words) for _, words in rows])
        each = chain.from_iterable(words for _, words in rows)
        hashed = np.fromiter(map(self._words.__getitem__, each), np.uint64, int(lengths.sum()))
        shingles, starts = _shingles(hashed, lengths)
        sketches, sizes = _sketches(shingles, starts)
        try:
            for file, values in ((self._file, self._least(shingles, starts)), (self._sketches, sketches)):
                file.write(values.data)
                file.flush()
        except OSError as error:  # the system leaves out where
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
        self._numbers.extend(number for number, _ in rows)
        self._sizes.extend(sizes.tolist())

    def _least(self, shingles: Hashes, starts: Numbers) -> npt.NDArray[np.uint32]:
        """The least hash of each row's shingles under each permutation, uint32 `[rows, PERMUTATIONS]`."""
        least = np.empty((len(starts), PERMUTATIONS), dtype=np.uint32)
        # Whole rows, at least one, of about BLOCK shingles.
        cuts = np.searchsorted(starts, np.arange(0, len(shingles), BLOCK))
        for first, last in pairwise(np.unique([*cuts, len(starts)])):
            end = starts[last] if last < len(starts) else len(shingles)
            part, own = shingles[starts[first] : end], starts[first:last] - starts[first]
            hashed = np.empty_like(part)
            for place in range(PERMUTATIONS):
                np.multiply(part, self._factors[place], out=hashed)
                np.add(hashed, self._offsets[place], out=hashed)
                # The upper half counts, and comparing it is comparing the whole.
                least[first:last, place] = np.minimum.reduceat(hashed, own) >> np.uint64(32)
        return least

    def pairs(self) -> tuple[Numbers, Numbers]:
        """The rows that are like an earlier one, and for each that one, by number."""
        count = len(self._numbers)
        numbers = np.array(self._numbers, dtype=np.int64)
        first = np.arange(count)
        if count:
            signatures = np.memmap(self._file, np.uint32, "r", shape=(count, PERMUTATIONS))
            sketches = _Kept(self._sketches, np.array(self._sizes, dtype=np.int64))
            for band in range(BANDS):
                rows, others = _together(_band_keys(signatures, band))
                for start in range(0, len(rows), BLOCK):
                    row, other = rows[start : start + BLOCK], others[start : start + BLOCK]
                    new = first[row] == row
                    row, other = row[new], other[new]
                    close = (signatures[row] == signatures[other]).mean(1) >= WORTH_IT
                    row, other = row[close], other[close]
                    alike = sketches.similarity(row, other) >= ALIKE
                    # The earliest of several is written last.
                    first[row[alike][::-1]] = other[alike][::-1]
        later = np.flatnonzero(first < np.arange(count))
        return numbers[later], numbers[first[later]]


class _Kept:
    """The least hashes of each row's shingles, as they lie in a file one row after the other."""

    def __init__(self, file: IO[bytes], sizes: Numbers) -> None:
        self._hashes = np.memmap(file, np.uint32, "r", shape=(int(sizes.sum()),))
        self._sizes, self._starts = sizes, np.cumsum(sizes) - sizes

    def similarity(self, rows: Numbers, others: Numbers) -> npt.NDArray[np.float64]:
        """The Jaccard similarity of each row with its other, exact where both have at most `SKETCH` shingles."""
        found = np.zeros(len(rows))
        for start in range(0, len(rows), COMPARED):
            part = slice(start, start + COMPARED)
            found[part] = self._similarity(rows[part], others[part])
        return found

    def _similarity(self, rows: Numbers, others: Numbers) -> npt.NDArray[np.float64]:
        both = np.sort(np.concatenate([self._of(rows), self._of(others)]))  # pair by pair, hashes ascending
        new = np.concatenate(([True], both[1:] != both[:-1]))
        pairs = (both[new] >> np.uint64(32)).astype(np.int64)
        begins = np.searchsorted(pairs, np.arange(len(rows)))
        counts = np.diff(np.append(np.flatnonzero(new), len(both)))  # 2 where both have it
        # The least hashes of the union: beyond the shorter of two cut sketches nothing is known.
        known = np.full(len(rows), len(both))
        for side in (rows, others):
            cut = self._sizes[side] == SKETCH
            known[cut] = SKETCH
        within = np.arange(len(pairs)) - begins[pairs] < known[pairs]
        shared = np.bincount(pairs[within & (counts == 2)], minlength=len(rows))
        return np.asarray(shared / np.maximum(1, np.bincount(pairs[within], minlength=len(rows))))

    def _of(self, rows: Numbers) -> Hashes:
        """All hashes of some rows, each below the number of its place among them."""
        sizes = self._sizes[rows]
        places = np.arange(int(sizes.sum())) + np.repeat(self._starts[rows] - np.cumsum(sizes) + sizes, sizes)
        pair = np.repeat(np.arange(len(rows), dtype=np.uint64) << np.uint64(32), sizes)
        return np.asarray(pair | self._hashes[places])


class _Words(dict[str, int]):
    """The hash of each word, worked out once for those that come again."""

    def __missing__(self, word: str) -> int:
        hashed = zlib.crc32(word.encode("utf-8", "replace"))
        if len(self) < KNOWN_WORDS:
            self[word] = hashed
        return hashed


def _words(text: str) -> list[str]:
    text = text.lower()
    return text.translate(APART).split() if text.isascii() else WORD.findall(text)


def _shingles(hashed: Hashes, lengths: Numbers) -> tuple[Hashes, Numbers]:
    """A hash of each run of words within a row, row by row, and where each row's begin.

    `hashed` are the words of all rows, one row after the other; `lengths` is how many each has.
    """
    runs = np.zeros(len(hashed) - SHINGLE + 1, dtype=np.uint64)
    for place in range(SHINGLE):
        runs = (runs ^ hashed[place : place + len(runs)]) * ODD
        runs ^= runs >> np.uint64(29)
    ends = np.cumsum(lengths)
    within = np.ones(len(hashed), dtype=np.bool_)
    for place in range(1, SHINGLE):
        within[ends - place] = False  # a run from here would reach into the next row
    return runs[within[: len(runs)]], np.cumsum([0, *(lengths[:-1] - SHINGLE + 1)])


def _band_keys(signatures: npt.NDArray[np.uint32], band: int) -> Hashes:
    """One number for the hashes of a band, uint64 `[rows]`. Different bands may share one: they are compared anyway."""
    keys = np.zeros(len(signatures), dtype=np.uint64)
    for start in range(0, len(keys), BLOCK):
        part = keys[start : start + BLOCK]
        for place in range(band * ROWS, (band + 1) * ROWS):
            part[:] = (part ^ signatures[start : start + BLOCK, place]) * ODD
            part ^= part >> np.uint64(29)
    return keys


def _together(keys: Hashes) -> tuple[Numbers, Numbers]:
    """Places that have the same key: each with the `NEAREST` first of them before it, the first one first."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    begin = np.repeat(begins, np.diff(np.append(begins, len(keys))))
    rank = np.arange(len(keys)) - begin
    rows, others = [], []
    for nearest in range(NEAREST):
        places = np.flatnonzero(rank > nearest)
        rows.append(order[places])
        others.append(order[begin[places] + nearest])
    return np.concatenate(rows), np.concatenate(others)


def _sketches(shingles: Hashes, starts: Numbers) -> tuple[npt.NDArray[np.uint32], Numbers]:
    """The least hashes of each row's shingles, ascending and at most `SKETCH`, row by row; how many each has."""
    sizes = np.diff(np.append(starts, len(shingles)))
    row = np.repeat(np.arange(len(starts), dtype=np.uint64) << np.uint64(32), sizes)
    each = np.unique(row | (shingles >> np.uint64(32)))
    rows = (each >> np.uint64(32)).astype(np.int64)
    kept = np.arange(len(each)) - np.searchsorted(rows, np.arange(len(starts)))[rows] < SKETCH
    return each[kept].astype(np.uint32), np.bincount(rows[kept], minlength=len(starts))
