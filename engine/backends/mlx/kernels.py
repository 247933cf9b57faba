"""The package mlx-train-perf in the place of the chunked loss and of the mask, where the plan chose it.

Its public functions `linear_cross_entropy` and `flash_attention` are called. On Apple's GPU they run Metal kernels;
on a CPU its own implementations of the same functions, which tests hold against ours.
"""

from typing import Any

import mlx.core as mx

from engine.backend_spec import Device
from engine.backends.mlx.attention import Attending
from engine.backends.mlx.loss import Head

GROUP, BITS = 64, 4
"""The only quantised output layer that the loss's kernel takes."""


class Kernels:
    """The package's functions, as one device runs them."""

    def __init__(self, device: Device) -> None:
        on_gpu = device != "cpu"
        self._loss = "kernel" if on_gpu else "chunked"
        self._attention = "kernel" if on_gpu else "reference"

    def takes(self, head: Head) -> bool:
        """Return True if the loss's kernel takes this output layer: no bias or trained rows, dense or 4-bit."""
        layer = head.layer
        if "bias" in layer or head.ids is not None:
            return False
        plain = not head.quantised
        return plain or (layer.bits, layer.group_size, layer.mode) == (BITS, GROUP, "affine")

    def losses(self, head: Head, trained: bool, hidden: mx.array, targets: mx.array) -> mx.array:
        """Loss in nats of each target, `[n]`, from hidden `[n, width]`, with gradients."""
        from mlx_train_perf import DenseHead, QuantizedHead, linear_cross_entropy

        layer = head.layer
        reference: Any
        if head.quantised:
            reference = QuantizedHead(
                w_q=layer.weight, scales=layer.scales, biases=layer.biases, group_size=GROUP, bits=BITS
            )
        else:
            reference = DenseHead(weight=layer.weight, trainable=trained)
        # Checking the targets would read them, which a compiled step cannot; they come from the tokenizer.
        return linear_cross_entropy(
            hidden, reference, targets, impl=self._loss, reduction="none", validate_targets=False
        )

    def attend(
        self, queries: mx.array, keys: mx.array, values: mx.array, scale: float, segments: mx.array | None
    ) -> mx.array:
        """Causal attention within examples; queries, keys and values `[rows, heads, length, width]`."""
        from mlx_train_perf.attention import flash_attention

        return flash_attention(
            queries, keys, values, scale=scale, causal=True, impl=self._attention,
            segments=None if segments is None else _spans(segments),
        )  # fmt: skip


class Spans(Attending):
    """`Segments` whose mask is never made where the kernels can attend without one."""

    def __init__(self, segments: mx.array | None, window: int | None, kernels: Kernels) -> None:
        super().__init__(segments, window)
        self.kernels = kernels

    def make_mask(
        self, length: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        window = window_size or self.window
        if return_array or (window and length > window):
            return super().make_mask(length, return_array, window_size)
        return "causal"

    def attend(self, queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
        return self.kernels.attend(queries, keys, values, scale, self.segments)


def _spans(segments: mx.array) -> Any:
    """Segments `[rows, length]` as the package wants them: numbered upwards from 0 in every row, padding a last one
    of its own, and where each begins."""
    from mlx_train_perf.attention.segments import PackedMask

    place = mx.arange(segments.shape[-1], dtype=mx.int32)
    begins = mx.concatenate([mx.zeros_like(segments[:, :1]), segments[:, 1:] != segments[:, :-1]], 1)
    starts = mx.cummax(mx.where(begins, place, 0), axis=1)
    return PackedMask(seg_id=mx.cumsum(begins, axis=1).astype(mx.int32), seg_start=starts.astype(mx.int32))
