"""Causal attention of examples that lie end to end in one row, each alone.

mlx-lm's models ask their cache for the mask; an object that answers as a cache does, and keeps nothing, brings ours.
"""

import sys
from typing import Any

import mlx.core as mx
from mlx_lm.models import base

BLOCK = 64
"""Queries that attend together on a CPU."""


class Segments:
    """Stands where a layer's key-value cache would: no past, and a mask that keeps examples apart.

    `segments` int32 `[rows, length]`, 0 where there is padding. `window` is a sliding window of the layer
    that mlx-lm's code of the model leaves out.
    """

    offset = 0

    def __init__(self, segments: mx.array | None, window: int | None) -> None:
        self.segments = segments
        self.window = window

    def make_mask(
        self, length: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """Mask of the tokens that each token sees, bool `[rows, 1, length, length]`, or `causal`."""
        window = window_size or self.window
        if self.segments is None and not (return_array or (window and length > window)):
            return "causal"
        position = mx.arange(length)
        distance = position[:, None] - position
        mask = distance >= 0
        if window:
            mask = mask & (distance < window)
        if self.segments is None:
            return mask
        return mask & (self.segments[:, None, :, None] == self.segments[:, None, None, :])

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        return keys, values


class Attending(Segments):
    """`Segments` that attends by itself where causality is the only mask; see `route`."""

    def attend(self, queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
        """Causal attention; queries, keys and values `[rows, heads, length, width]`."""
        raise NotImplementedError


class Blocks(Attending):
    """Attention block by block of queries, each to the keys up to its own end.

    On a CPU, MLX's attention forms all scores, those too that causality hides: this leaves out nearly half of them.
    """

    def attend(self, queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
        length = queries.shape[2]
        ends = range(BLOCK, length + BLOCK, BLOCK)
        parts = [
            mx.fast.scaled_dot_product_attention(
                queries[:, :, end - BLOCK : end],
                keys[:, :, :end],
                values[:, :, :end],
                scale=scale,
                mask="causal",
            )
            for end in ends
        ]
        return mx.concatenate(parts, 2) if len(parts) > 1 else parts[0]


def route(model: Any) -> None:
    """Let the model's attention ask the `Attending` that stands where its cache would; any other cache changes
    nothing."""
    for module in {sys.modules[type(layer).__module__] for layer in model.modules()}:
        if getattr(module, "scaled_dot_product_attention", None) is base.scaled_dot_product_attention:
            setattr(module, "scaled_dot_product_attention", _routed)  # noqa: B010 - it is not the module's own


def _routed(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Any,
    scale: float,
    mask: Any,
    sinks: Any = None,
) -> mx.array:
    """`mlx_lm.models.base.scaled_dot_product_attention`, and ours where there is an `Attending`."""
    if isinstance(cache, Attending) and isinstance(mask, str):
        if sinks is None:
            return cache.attend(queries, keys, values, scale)
        mask = Segments(cache.segments, None).make_mask(queries.shape[-2])
    return base.scaled_dot_product_attention(
        queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks
    )
