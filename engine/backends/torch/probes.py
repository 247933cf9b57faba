"""Trials on the model itself of what a run relies on."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from engine.backend_spec import Dtype
from engine.data.batching import batch_of_rows
from engine.data.types import Batch
from engine.models.mismatch import no_numbers

TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}
"""Largest difference of a token's last hidden state, packed and alone, relative to its length; a leak is beyond it."""

CAP = "final_logit_softcapping"
"""Key of config.json for a cap of the logits."""
HEAD_TOLERANCE = {"fp32": 1e-3, "bf16": 0.015, "fp16": 0.015}
"""Largest difference of logits, relative to their size. Both are one product of the same hidden states, so rounding
alone is a fifth of it; a cap of 30, as Gemma 2 has, takes 2 % off logits of 8."""


class Probed(Protocol):
    """A model, as a trial uses it."""

    causal: Any
    head: Any
    folder: Path
    compute: Dtype

    def hidden_states(self, batch: Batch) -> Tensor: ...

    def logits(self, batch: Batch) -> Tensor: ...

    def products(self, batch: Batch) -> Tensor: ...


def packing_is_isolated(model: Probed) -> bool:
    """Return True if a packed example has the hidden states that it has alone."""
    vocabulary = model.head.weight.shape[0]
    draw = np.random.default_rng(0)
    first, second = (draw.integers(0, vocabulary, size).astype(np.int32) for size in (24, 16))
    packed = model.hidden_states(batch_of_rows([first, second], packed=True))[0, len(first) :]
    alone = model.hidden_states(batch_of_rows([second]))[0]
    difference = (packed - alone).float().norm(dim=-1) / alone.float().norm(dim=-1)
    return float(difference.max()) < TOLERANCE[model.compute]


def head_is_linear(model: Probed) -> bool:
    """Return True if the model's logits are its last hidden states times its head, and nothing more.

    Gemma 2 caps them, Cohere and Granite scale them. Raises ModelError where they are no numbers.
    """
    config = model.causal.config
    if getattr(config.get_text_config(), CAP, None):  # where logits are small it does nothing yet
        return False
    vocabulary = model.head.weight.shape[0]
    row = np.random.default_rng(1).integers(0, vocabulary, 8).astype(np.int32)
    batch = batch_of_rows([row])
    own, product = model.logits(batch), model.products(batch)
    if model.compute != "fp16" and not own.isfinite().all():  # some models overflow fp16
        raise no_numbers(model.folder, "what the model says")
    return float((own - product).norm() / own.norm()) < HEAD_TOLERANCE[model.compute]
