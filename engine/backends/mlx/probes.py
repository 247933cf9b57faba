"""Trials on the model itself of what a run relies on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
import numpy as np

from engine.backend_spec import Dtype
from engine.backends.mlx.loss import Head
from engine.backends.mlx.model import trying_out
from engine.models.mismatch import no_numbers

TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}
"""Largest difference of a token's last hidden state, packed and alone, relative to its length; a leak is beyond it."""
CAP = "final_logit_softcapping"
"""Key of config.json for a cap of the logits."""
HEAD_TOLERANCE = {"fp32": 1e-3, "bf16": 0.015, "fp16": 0.015}
"""Largest difference of logits, relative to their size: see the same of torch's."""
FAILURES = (AttributeError, TypeError, ValueError, IndexError, KeyError, NotImplementedError)
"""Errors of a model's code that does not take our cache: state-space layers, say."""


class Probed(Protocol):
    """A model, as a trial uses it."""

    network: Any
    body: Any
    head: Head | None
    about: Mapping[str, Any]
    vocabulary: int
    folder: Path
    compute: Dtype

    def hidden_states(self, ids: mx.array, segments: mx.array | None) -> mx.array: ...

    def logits(self, ids: mx.array) -> mx.array: ...


def packing_is_isolated(model: Probed) -> bool:
    """Return True if an example behind another one in a row has the hidden states that it has alone."""
    first, second = (_tokens(model, size, seed) for seed, size in enumerate((24, 16)))
    both = mx.concatenate([first, second], 1)
    segments = mx.concatenate([mx.full((1, 24), 1), mx.full((1, 16), 2)], 1)
    try:
        packed = model.hidden_states(both, segments)[0, 24:]
        alone = model.hidden_states(second, None)[0]
    except FAILURES:
        return False
    difference = mx.linalg.norm((packed - alone).astype(mx.float32), axis=-1)
    size = mx.linalg.norm(alone.astype(mx.float32), axis=-1)
    return float((difference / size).max()) < TOLERANCE[model.compute]


def head_is_linear(model: Probed) -> bool:
    """Return True if the model's logits are its last hidden states times its head, and nothing more.

    Gemma 2 caps them, Cohere and Granite scale them. Raises ModelError where they are no numbers.
    """
    text = model.about.get("text_config") or model.about
    # Where logits are small it does nothing yet.
    if model.head is None or model.body is None or text.get(CAP):
        return False
    row = _tokens(model, 8, 2)
    try:
        own = model.logits(row)[0].astype(mx.float32)
        product = model.head.logits(model.hidden_states(row, None)[0], model.head.weights)
    except FAILURES:
        with trying_out(model.folder):
            mx.eval(model.network(row))  # with a cache of its own it has to run
        return False
    if model.compute != "fp16" and not mx.isfinite(own).all():  # some models overflow fp16
        raise no_numbers(model.folder, "what the model says")
    difference = float(mx.linalg.norm(own - product) / mx.linalg.norm(own))
    return difference < HEAD_TOLERANCE[model.compute]


def _tokens(model: Probed, size: int, seed: int) -> mx.array:
    """A row of token ids `[1, size]`."""
    return mx.array(np.random.default_rng(seed).integers(0, model.vocabulary, (1, size), dtype=np.int32))
