"""Rows that are equal or nearly so, among a million, by MinHash.

A row is the set of its shingles: runs of `SHINGLE` words, case and punctuation left out. Two rows have the same least
hash under a random permutation with the probability of their Jaccard similarity (Broder 1997, "On the resemblance
and containment of documents"), so the share of equal least hashes among many permutations estimates it. Rows that
agree in all hashes of one band are compared; all others are not (Leskovec, Rajaraman and Ullman, "Mining of Massive
Datasets", section 3.4): at a similarity s that finds 1 - (1 - s^4)^16 of the pairs, 99.98 % of those at 0.8.
"""

import re
import tempfile
import weakref
import zlib
from array import array
from collections.abc import Iterable
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
SHINGLE = 3
BANDS, ROWS = 16, 4
PERMUTATIONS = BANDS * ROWS
ALIKE = 0.8
"""Estimated similarity from which two rows are near duplicates."""
FEWEST = 8
"""Words from which rows are compared: short answers are alike and mean nothing by it."""
WORD = re.compile(r"\w+")
APART = {code: " " for code in range(128) if not WORD.match(chr(code))}
"""What parts words in a text of ASCII alone, which is most of them and quicker this way."""
ODD = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 1 << 14
"""Shingles, and rows, that are worked on at once: what a core's cache holds."""
KNOWN_WORDS = 1 << 17
"""Words whose hashes are kept."""


class Likeness:
    """Takes the rows' texts one after the other. Their least hashes lie in a temporary file, 256 bytes a row."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self._factors = draw.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
        self._offsets = draw.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object
        weakref.finalize(self, self._file.close)
        self._numbers = array("q")
        self._words = _Words()

    def add(self, texts: Iterable[tuple[int, str]]) -> None:
        """Rows by their number, a chunk at a time. Raises OSError where the disk takes no more."""
        rows = [(number, words) for number, text in texts if len(words := _words(text)) >= FEWEST]
        if not rows:
            return
        lengths = np.array([len(words) for _, words in rows])
        each = chain.from_iterable(words for _, words in rows)
        hashed = np.fromiter(map(self._words.__getitem__, each), np.uint64, int(lengths.sum()))
        least = self._least(*_shingles(hashed, lengths))
        try:
            self._file.write(least.data)
            self._file.flush()
        except OSError as error:  # the system leaves out where
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
        self._numbers.extend(number for number, _ in rows)

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
            for band in range(BANDS):
                leader = _leaders(_band_keys(signatures, band))
                same = np.flatnonzero(leader < first)
                for start in range(0, len(same), BLOCK):
                    rows = same[start : start + BLOCK]
                    others = leader[rows]
                    alike = (signatures[rows] == signatures[others]).mean(1) >= ALIKE
                    first[rows[alike]] = others[alike]
        later = np.flatnonzero(first < np.arange(count))
        return numbers[later], numbers[first[later]]


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


def _leaders(keys: Hashes) -> Numbers:
    """For each place the first that has the same key, int64 `[rows]`."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    leaders = np.empty(len(keys), dtype=np.int64)
    leaders[order] = np.repeat(order[begins], np.diff(np.append(begins, len(keys))))
    return leaders
