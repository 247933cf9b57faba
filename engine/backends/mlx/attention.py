"""Causal attention of examples that lie end to end in one row, each alone.

mlx-lm's models ask their cache for the mask; an object that answers as a cache does, and keeps nothing, brings ours.
"""

import mlx.core as mx


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
        """What each token sees, bool `[rows, 1, length, length]`, or `causal`."""
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
