"""What must hold for a model before a run relies on it, tried on the model itself."""

from typing import TYPE_CHECKING

import numpy as np

from engine.data.types import Batch

if TYPE_CHECKING:
    from engine.backends.torch.backend import TorchBackend

TOLERANCE = {"fp32": 1e-3, "bf16": 0.2, "fp16": 0.05}
"""Largest difference in nats between the same token packed and alone; a leak is far beyond it."""


def keeps_apart(backend: "TorchBackend") -> bool:
    """Whether packed examples give the same log-probabilities as each alone."""
    vocabulary = backend.head.weight.shape[0]
    draw = np.random.default_rng(0)
    rows = [draw.integers(0, vocabulary, size).astype(np.int32) for size in (24, 16)]
    packed = backend.log_probabilities(_packed(rows))
    alone = [value for row in rows for value in backend.log_probabilities(_packed([row]))]
    return float(np.abs(np.subtract(packed, alone)).max()) < TOLERANCE[backend.plan.compute_dtype]


def _packed(rows: list[np.ndarray]) -> Batch:
    ids = np.concatenate(rows)[None]
    positions = np.concatenate([np.arange(len(row), dtype=np.int32) for row in rows])[None]
    segments = np.repeat(np.arange(1, len(rows) + 1, dtype=np.int32), [len(row) for row in rows])[None]
    return Batch(ids, ids, positions, segments)
