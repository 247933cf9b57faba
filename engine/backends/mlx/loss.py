"""Cross-entropy over the vocabulary, only where a token is trained, and a chunk of logits at a time.

The gradient is made in the forward pass, from the logits that are there anyway (as Liger's fused linear
cross-entropy does, arXiv:2410.10989), so the peak is one chunk of positions times the vocabulary in fp32.
"""

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
from mlx import nn

from engine.backends.mlx.vocabulary import TokenRows

CHUNK_BYTES = 128 * 2**20
"""Size of one chunk of logits in fp32."""


class Head:
    """The output layer as a plain product: its own weights or those of the tied embedding, and rows that are trained in
    the place of some of them."""

    def __init__(self, layer: Any) -> None:
        self._rows = layer if isinstance(layer, TokenRows) else None
        self.layer = layer.base if isinstance(layer, TokenRows) else layer

    @property
    def vocabulary(self) -> int:
        rows: int = self.layer.weight.shape[0]
        return rows

    @property
    def weights(self) -> list[mx.array]:
        """Weights with gradients in a head: weight `[vocabulary, width]`, bias where there is one, trained rows."""
        own = [self.layer[name] for name in ("weight", "bias") if name in self.layer]
        return own if self._rows is None else [*own, self._rows.rows]

    @property
    def ids(self) -> mx.array | None:
        """The token ids of the trained rows."""
        return None if self._rows is None else self._rows.ids

    @property
    def quantised(self) -> bool:
        return isinstance(self.layer, nn.QuantizedLinear | nn.QuantizedEmbedding)

    def logits(self, hidden: mx.array, weights: list[mx.array]) -> mx.array:
        """hidden `[n, width]` to logits `[n, vocabulary]` in fp32."""
        bias = weights[1] if "bias" in self.layer else None
        product = self._product(hidden, transpose=True) if self.quantised else hidden @ weights[0].T
        if self.ids is not None:
            own = hidden @ weights[-1].T.astype(hidden.dtype)
            places = mx.broadcast_to(self.ids, own.shape)
            product = mx.put_along_axis(product, places, own.astype(product.dtype), axis=-1)
        return (product if bias is None else product + bias).astype(mx.float32)

    def back(self, slopes: mx.array, weights: list[mx.array]) -> mx.array:
        """The gradient of hidden `[n, width]` from that of the logits."""
        if self.ids is None:
            return self._product(slopes, transpose=False) if self.quantised else slopes @ weights[0]
        own = slopes[:, self.ids]
        places = mx.broadcast_to(self.ids, own.shape)
        rest = mx.put_along_axis(slopes, places, mx.zeros_like(own), axis=-1)
        plain = self._product(rest, transpose=False) if self.quantised else rest @ weights[0]
        return plain + own @ weights[-1].astype(own.dtype)

    def _product(self, x: mx.array, transpose: bool) -> mx.array:
        layer = self.layer
        return mx.quantized_matmul(
            x, layer.weight, layer.scales, layer.get("biases"), transpose=transpose,
            group_size=layer.group_size, bits=layer.bits, mode=layer.mode,
        )  # fmt: skip

    def by_weights(self, slopes: mx.array, hidden: mx.array, whole: bool) -> list[mx.array]:
        """Gradients of what is trained of `weights`, in fp32: all of them, or the rows of some tokens alone."""
        if whole:
            parts = [(slopes.T @ hidden).astype(mx.float32), slopes.astype(mx.float32).sum(0)]
            return parts[: 2 if "bias" in self.layer else 1]
        if self.ids is None:
            return []
        return [(slopes[:, self.ids].T @ hidden).astype(mx.float32)]


def head_loss(head: Head, trained: bool) -> Callable[[mx.array, mx.array, mx.array], mx.array]:
    """A function of hidden `[n, width]`, targets `[n]` and counted `[n]` to the summed loss in nats.

    `trained` is whether its weights are trained whole.
    """

    @mx.custom_function
    def with_gradients(
        hidden: mx.array, targets: mx.array, counted: mx.array, weights: list[mx.array]
    ) -> list[mx.array]:
        total = mx.zeros(())
        slopes_of: list[mx.array] = []
        by_weight: list[mx.array] = []
        for part in _chunks(hidden.shape[0], head.vocabulary):
            # Each chunk waits for the one before, so that there is one at a time.
            h, *_ = mx.depends([hidden[part]], [total, *slopes_of[-1:]])
            logits = head.logits(h, weights)
            top = mx.logsumexp(logits, -1, keepdims=True)
            chosen = mx.take_along_axis(logits, targets[part][:, None], -1)
            total = total + ((top - chosen)[:, 0] * counted[part]).sum()
            hit = mx.arange(head.vocabulary) == targets[part][:, None]
            slopes = ((mx.exp(logits - top) - hit) * counted[part][:, None]).astype(h.dtype)
            slopes_of.append(head.back(slopes, weights))
            more = head.by_weights(slopes, h, trained)
            by_weight = (
                [one + other for one, other in zip(by_weight, more, strict=True)] if by_weight else more
            )
        return [total, mx.concatenate(slopes_of), *by_weight]

    @with_gradients.vjp
    def backward(primals: Any, cotangents: Any, outputs: Any) -> Any:
        hidden, targets, counted, weights = primals
        by_hidden, *by_weight = [gradient * cotangents[0] for gradient in outputs[1:]]
        untrained = [mx.zeros_like(w) for w in weights[: len(weights) - len(by_weight)]]
        by_weight = untrained + [
            gradient.astype(weight.dtype)
            for gradient, weight in zip(by_weight, weights[len(untrained) :], strict=True)
        ]
        return (
            by_hidden.astype(hidden.dtype), mx.zeros_like(targets), mx.zeros_like(counted), by_weight,
        )  # fmt: skip

    def loss(hidden: mx.array, targets: mx.array, counted: mx.array) -> mx.array:
        outputs: Any = with_gradients(hidden, targets, counted, head.weights)
        return outputs[0]

    return loss


def head_losses(head: Head, hidden: mx.array, targets: mx.array) -> mx.array:
    """Loss in nats of each target, `[n]`, without gradients."""
    parts: list[mx.array] = []
    for part in _chunks(hidden.shape[0], head.vocabulary):
        h, *_ = mx.depends([hidden[part]], parts[-1:] or [hidden])
        parts.append(losses_of(head.logits(h, head.weights), targets[part]))
    return mx.concatenate(parts)


def head_logps(head: Head, hidden: mx.array, targets: mx.array) -> mx.array:
    """Log-probability in nats of each target, `[n]`, with gradients, for losses that are more than their sum.

    Chunks of logits are made again in the backward pass, so that the vocabulary is never held whole.
    """

    def logps_of(part: slice) -> mx.array:
        chosen = mx.stop_gradient(targets[part])
        recomputed = mx.checkpoint(lambda h, weights: -losses_of(head.logits(h, weights), chosen))
        return recomputed(hidden[part], head.weights)

    return mx.concatenate([logps_of(part) for part in _chunks(hidden.shape[0], head.vocabulary)])


def losses_of(logits: mx.array, targets: mx.array) -> mx.array:
    """Loss in nats of each target, `[n]`, from logits `[n, vocabulary]`."""
    return nn.losses.cross_entropy(logits.astype(mx.float32), targets, reduction="none")


def _chunks(count: int, vocabulary: int) -> Iterator[slice]:
    """Slices of `count` positions, each as many as make a chunk of logits."""
    size = max(1, CHUNK_BYTES // (4 * vocabulary))
    return (slice(start, start + size) for start in range(0, count, size))
