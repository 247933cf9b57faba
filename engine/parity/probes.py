"""Places at which a trained model and its export are compared: seeded, in rows that were not trained on."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.data.types import Examples, Int32
from engine.parity.exported import Probe

POSITIONS = 256
"""Places that are compared."""
MOST_TOKENS = 256
"""Tokens of a row that are looked at: an engine that answers one place at a time reads all before it each time."""
SPREAD = 2
"""Trained places that rows are taken for, as a multiple of those that are compared: fewer rows cost less to compute."""
TEXTS = Path(__file__).with_name("texts.jsonl")


def of_rows(rows: Examples, seed: int = 0, count: int = POSITIONS) -> tuple[Probe, ...]:
    """Places in validation rows, those whose next token is trained before others."""
    order = np.random.default_rng(seed).permutation(len(rows))
    sequences, trained, cut = [], [], []
    there = 0
    for index in order[: SPREAD * count]:
        start = int(rows.offsets[index])
        end = int(rows.offsets[index + 1])
        span = slice(start, min(end, start + MOST_TOKENS))
        cut.append(span.stop < end)
        sequences.append(rows.tokens[span])
        trained.append(rows.trained[span])
        there += int(trained[-1].sum())
        if there >= SPREAD * count:
            break
    return _drawn(sequences, trained, cut, seed, count)


def of_text(
    encode: Callable[[str], Sequence[int]], seed: int = 0, count: int = POSITIONS
) -> tuple[Probe, ...]:
    """Places in the texts that come with ft, for a model of which no run says which rows it was not trained on."""
    texts = [json.loads(line)["text"] for line in TEXTS.read_text(encoding="utf-8").splitlines()]
    whole = [np.asarray(encode(text), np.int32) for text in texts]
    sequences = [each[:MOST_TOKENS] for each in whole]
    trained = [np.ones(len(each), np.bool_) for each in sequences]
    return _drawn(sequences, trained, [len(each) > MOST_TOKENS for each in whole], seed, count)


def places(probes: Sequence[Probe]) -> int:
    """Number of places of all rows."""
    return sum(len(probe.positions) for probe in probes)


def _drawn(
    sequences: Sequence[Int32],
    trained: Sequence[npt.NDArray[np.bool_]],
    cut: Sequence[bool],
    seed: int,
    count: int,
) -> tuple[Probe, ...]:
    """`count` places of the sequences, or all that there are, drawn without repetition."""
    first: list[tuple[int, int]] = []
    second: list[tuple[int, int]] = []
    for row, (tokens, wanted) in enumerate(zip(sequences, trained, strict=True)):
        for position in range(len(tokens) - 1):  # nothing is known of what follows the last token
            (first if wanted[position + 1] else second).append((row, position))
    random = np.random.default_rng(seed)
    chosen = [first[i] for i in random.permutation(len(first))[:count]]
    chosen += [second[i] for i in random.permutation(len(second))[: count - len(chosen)]]
    found: dict[int, list[int]] = {}
    for row, position in sorted(chosen):
        found.setdefault(row, []).append(position)
    return tuple(
        Probe(sequences[row].astype(np.int32), np.asarray(positions, np.int32), cut=cut[row])
        for row, positions in found.items()
    )
