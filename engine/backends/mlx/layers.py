"""The low-rank update of a linear layer of MLX, dense or quantised: LoRA and DoRA in PEFT's own shapes."""

from typing import Any

import mlx.core as mx
from mlx import nn


class Dropout:
    """Inverted dropout whose masks depend on the micro-batch's key and the layer alone.

    Recomputing a layer (gradient checkpointing) draws the same mask again, which `nn.Dropout` would not.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.layers = 0
        self.keys: Any = None
        """One key a layer while a training step is traced; None in evaluation."""

    def start(self, key: mx.array | None) -> None:
        """Draw the layers' keys from the micro-batch's; None turns dropout off."""
        self.keys = mx.random.split(key, self.layers) if key is not None and self.rate else None

    def __call__(self, x: mx.array, layer: int) -> mx.array:
        if self.keys is None:
            return x
        kept = mx.random.bernoulli(1.0 - self.rate, x.shape, self.keys[layer])
        return mx.where(kept, x / (1.0 - self.rate), mx.zeros_like(x))


class LoraLinear(nn.Module):
    """y = W x + s B A x (Hu et al. 2021, arXiv:2106.09685); A `[rank, inputs]`, B `[outputs, rank]`."""

    def __init__(self, base: Any, a: mx.array, scale: float, dropout: Dropout) -> None:
        super().__init__()
        self.base = base
        self.lora_A = a
        self.lora_B = mx.zeros((base.weight.shape[0], a.shape[0]))
        self._scale = scale
        self._dropout = dropout
        self._index = dropout.layers
        dropout.layers += 1

    def __call__(self, x: mx.array) -> mx.array:
        return self.base(x) + self._update(self._dropout(x, self._index))

    def _update(self, x: mx.array) -> mx.array:
        """s B A x, in the format of x."""
        low = x @ self.lora_A.T.astype(x.dtype)
        return low @ (self._scale * self.lora_B.T).astype(x.dtype)


class DoraLinear(LoraLinear):
    """The update of LoRA with each output's length learned apart (Liu et al. 2024, arXiv:2402.09353).

    y = m (W + s B A) x / |W + s B A| row by row; the norm takes no gradient, as in the paper and in PEFT.
    """

    def __init__(self, base: Any, a: mx.array, scale: float, dropout: Dropout) -> None:
        super().__init__(base, a, scale, dropout)
        self.measure()
        self.magnitude = mx.sqrt(self._squares)

    def measure(self) -> None:
        """Take the squared lengths of the rows of W, after they have changed too."""
        self._squares = row_squares(self.base)

    def __call__(self, x: mx.array) -> mx.array:
        plain, dropped = self.base(x), self._dropout(x, self._index)
        product = plain - self.base.bias if "bias" in self.base else plain
        if dropped is not x:
            product = self._product(dropped)
        ratio = (self.magnitude / self.length(self.lora_A, self.lora_B)).astype(x.dtype)
        return plain + (ratio - 1) * product + ratio * self._update(dropped)

    def _product(self, x: mx.array) -> mx.array:
        """W x without the bias."""
        y = self.base(x)
        return y - self.base.bias if "bias" in self.base else y

    def length(self, a: mx.array, b: mx.array) -> mx.array:
        """The length of every row of W + s B A, `[outputs]`, without forming the matrix or taking a gradient.

        |w + s b A|^2 = |w|^2 + 2 s (W A^T) . b + s^2 b (A A^T) . b, row by row.
        """
        a, b = mx.stop_gradient(a), mx.stop_gradient(b)
        crossed = self._product(a).T.astype(mx.float32)
        inner = 2 * self._scale * crossed + self._scale**2 * (b @ (a @ a.T))
        return mx.sqrt(mx.stop_gradient(self._squares + (inner * b).sum(1)))


def row_squares(layer: Any) -> mx.array:
    """The squared length of every row of a linear layer's weight, `[outputs]` in fp32."""
    return mx.square(dense(layer).astype(mx.float32)).sum(1)


def dense(layer: Any) -> mx.array:
    """The `[outputs, inputs]` weight of a linear layer, dequantised where it is held so."""
    if not isinstance(layer, nn.QuantizedLinear):
        return layer.weight
    return mx.dequantize(
        layer.weight, layer.scales, layer.get("biases"),
        group_size=layer.group_size, bits=layer.bits, mode=layer.mode,
    )  # fmt: skip


def inputs_of(layer: Any) -> int:
    """Number of inputs of a linear layer; a quantised one packs several into one element."""
    width: int = layer.weight.shape[1]
    return width * 32 // layer.bits if isinstance(layer, nn.QuantizedLinear) else width
