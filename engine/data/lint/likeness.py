"""Rows that are equal or nearly so, among a million, by MinHash.

A row is the set of its shingles: runs of `SHINGLE` words, case and punctuation left out. Two rows have the same least
hash under a random permutation with the probability of their Jaccard similarity (Broder 1997, "On the resemblance
and containment of documents"), so the share of equal least hashes among many permutations estimates it. Rows that
agree in all hashes of one band are compared; all others are not (Leskovec, Rajaraman and Ullman, "Mining of Massive
Datasets", section 3.4): at a similarity s that finds 1 - (1 - s^4)^16 of the pairs, 99.98 % of those at 0.8.
"""

import re
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
SHINGLE = 3
BANDS, ROWS = 16, 4
PERMUTATIONS = BANDS * ROWS
ALIKE = 0.8
"""Estimated similarity from which two rows are near duplicates."""
FEWEST = 8
"""Words from which rows are compared: short answers are alike and mean nothing by it."""
WORD = re.compile(r"\w+")
ODD = np.uint64(0x9E3779B97F4A7C15)


class Likeness:
    """Takes the rows' texts one after the other."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self._factors = draw.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
        self._offsets = draw.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64)
        self._signatures: list[npt.NDArray[np.uint32]] = []
        self._numbers: list[int] = []

    def add(self, texts: Iterable[tuple[int, str]]) -> None:
        """Rows by their number, a chunk at a time."""
        rows = [(number, words) for number, text in texts if len(words := _words(text)) >= FEWEST]
        if not rows:
            return
        shingles = [_shingles(words) for _, words in rows]
        starts = np.cumsum([0, *(len(one) for one in shingles[:-1])])
        flat = np.concatenate(shingles)
        least = np.empty((len(rows), PERMUTATIONS), dtype=np.uint32)
        for place in range(PERMUTATIONS):
            hashed = (flat * self._factors[place] + self._offsets[place]) >> np.uint64(32)
            least[:, place] = np.minimum.reduceat(hashed, starts)
        self._signatures.append(least)
        self._numbers += [number for number, _ in rows]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Each row that is like an earlier one, with that one, by number."""
        if not self._signatures:
            return
        signatures = np.concatenate(self._signatures)
        first = np.arange(len(signatures))
        for band in range(BANDS):
            part = np.ascontiguousarray(signatures[:, band * ROWS : (band + 1) * ROWS])
            _, leader, group = np.unique(
                part.view(f"V{4 * ROWS}").ravel(), return_index=True, return_inverse=True
            )
            candidate = leader[group]
            same = np.flatnonzero(candidate < first)
            alike = (signatures[same] == signatures[candidate[same]]).mean(1) >= ALIKE
            first[same[alike]] = candidate[same[alike]]
        for place in np.flatnonzero(first < np.arange(len(first))):
            yield self._numbers[place], self._numbers[first[place]]


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _shingles(words: list[str]) -> Hashes:
    """A hash of each run of words, uint64 `[len(words) - SHINGLE + 1]`."""
    hashed = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in words], dtype=np.uint64)
    runs = np.zeros(len(words) - SHINGLE + 1, dtype=np.uint64)
    for place in range(SHINGLE):
        runs = (runs ^ hashed[place : place + len(runs)]) * ODD
        runs ^= runs >> np.uint64(29)
    return runs
