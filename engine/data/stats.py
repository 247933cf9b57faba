"""Statistics of a recipe's rows: lengths, what a limit would cut, trained tokens, vocabulary."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.config.schema import TrainConfig
from engine.data.formats.base import RowError
from engine.data.prepare import selections
from engine.data.samples import read_row
from engine.data.sources.resolve import ResolvedSources
from engine.data.types import Conversation, Dataset, Examples, Int32

PERCENTILES = (1, 10, 25, 50, 75, 90, 99, 100)
LIMITS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
BARS = 16
"""Bars of the histogram."""
PART = 1 << 20
"""Tokens that are counted together: a dataset may be larger than memory."""


@dataclass(frozen=True)
class Stats:
    """Training and validation rows together, after the cut at `max_seq_length`."""

    rows: int
    examples: int
    tokens: int
    trained: int
    percentiles: dict[int, int]
    """Tokens of an example, by percentile."""
    histogram: list[tuple[int, int, int]]
    """From and to (not counted) so many tokens, and how many examples have them."""
    cut: dict[int, float]
    """The share of examples that a `max_seq_length` would cut, by the limit, up to the longest."""
    turns: dict[int, int]
    """Rows by how many messages they have; 0 is plain text."""
    vocabulary: int
    """Different tokens in use."""
    vocabulary_size: int
    """Tokens that the tokenizer has."""
    bits: float
    """Entropy of a token drawn from the rows, without what stands before it, in bits: 0 where all are the same."""


def stats(config: TrainConfig, sources: ResolvedSources, dataset: Dataset, vocabulary_size: int) -> Stats:
    """Count what a prepared recipe's rows hold. Raises `DataError` where a source cannot be read again."""
    parts = [part for part in (dataset.train, dataset.validation) if part is not None]
    lengths = np.concatenate([part.lengths for part in parts])
    counts = sum(
        (_counts(part, vocabulary_size) for part in parts), np.zeros(vocabulary_size, dtype=np.int64)
    )
    shares = counts[counts > 0] / counts.sum()
    longest = int(lengths.max())
    turns = _turns(config, sources)
    return Stats(
        rows=sum(turns.values()),
        examples=len(lengths),
        tokens=int(lengths.sum()),
        trained=sum(part.trained_tokens for part in parts),
        percentiles={p: int(np.percentile(lengths, p, method="nearest")) for p in PERCENTILES},
        histogram=_histogram(lengths),
        cut={limit: float((lengths > limit).mean()) for limit in LIMITS if limit < longest},
        turns=turns,
        vocabulary=int((counts > 0).sum()),
        vocabulary_size=vocabulary_size,
        bits=float(-(shares * np.log2(shares)).sum()),
    )


def _counts(part: Examples, size: int) -> np.ndarray:
    """Occurrences of each token in a part, int64 `[size]`."""
    total = np.zeros(size, dtype=np.int64)
    for start in range(0, len(part.tokens), PART):
        total += np.bincount(_piece(part.tokens, start), minlength=size)[:size]
    return total


def _piece(tokens: Int32, start: int) -> Int32:
    """`PART` tokens; those of a file are read, as mapped pages would count as this process's memory."""
    if isinstance(tokens, np.memmap) and tokens.filename:
        return np.fromfile(tokens.filename, np.int32, PART, offset=start * tokens.itemsize)
    return tokens[start : start + PART]


def _histogram(lengths: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Bars from the shortest length on: rows of like length lie far from 0."""
    first, last = int(lengths.min()), int(lengths.max())
    width = max(1, -(-(last - first + 1) // BARS))
    bars = np.bincount((lengths - first) // width).tolist()
    starts = range(first, last + 1, width)
    return [(start, start + width, count) for start, count in zip(starts, bars, strict=True)]


def _turns(config: TrainConfig, sources: ResolvedSources) -> dict[int, int]:
    found: Counter[int] = Counter()
    for selection in selections(config, sources):
        for row_format, chunk in selection.chunks() if selection else ():
            for where, columns in chunk:
                try:
                    row = read_row(columns, where, row_format, config.data.train_on)
                except RowError:
                    continue  # reported by preparation, or skipped as the recipe says
                if row is not None:
                    found[len(row.messages) if isinstance(row, Conversation) else 0] += 1
    return dict(sorted(found.items()))
