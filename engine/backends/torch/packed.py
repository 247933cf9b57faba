"""Linear layers of a model that only answers, their weights in the layout that a CPU multiplies fastest.

oneDNN multiplies weights in blocks of its own layout, into which it puts them in every product anew where they lie as
in a file. torch's compiler packs the weights of a frozen model by the same two operations. `benchmarks/products.py`
compares packed products with torch's own.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

ROWS = 16
"""Rows for which the layout is chosen; any other number is multiplied in it, too."""
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Of a packed product beside torch's own, by format; other formats are not packed."""


class Product:
    """y = x Wᵀ + b, for one linear layer or for several with the same input, whose outputs then lie side by side.

    The layers' own weights are given up for it, or become parts of it, so that none is in memory twice; `keep` leaves
    a layer its own, for what else reads it.
    """

    def __init__(self, *layers: nn.Linear, keep: bool = False) -> None:
        self.layers = layers
        weight, self.bias = _joined(layers)
        self.packed = packs(weight)
        self.weight = _pack(weight) if self.packed else weight
        if keep:
            return
        for layer, part in zip(layers, weight.split(_sizes(layers)), strict=True):
            layer.weight.data = weight.new_empty(0) if self.packed else part

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return self.weight.numel() * self.weight.element_size()

    def __call__(self, x: Tensor) -> Tensor:
        """x `[…, in]` to `[…, out]`."""
        return _multiply(x, self.weight, self.bias) if self.packed else linear(x, self.weight, self.bias)

    def restore(self) -> None:
        """Give the layers their own weights back, bit for bit."""
        weight = self.weight.to_dense() if self.packed else self.weight
        for layer, part in zip(self.layers, weight.split(_sizes(self.layers)), strict=True):
            if not layer.weight.numel():
                layer.weight.data = part


class PackedLayers:
    """The linear layers of a network that answers, packed one by one."""

    def __init__(self, network: nn.Module, kept: Collection[Tensor]) -> None:
        """Packs the layers to which nothing else was done; those whose weight is in `kept` keep their own, too."""
        self.products: list[Product] = []
        own = {id(weight) for weight in kept}
        for module in network.modules():
            if type(module) is nn.Linear and "forward" not in module.__dict__ and packs(module.weight):
                product = Product(module, keep=id(module.weight) in own)
                module.forward = product
                self.products.append(product)

    def restore(self) -> None:
        """Give every layer its own weight and product back."""
        for product in self.products:
            product.restore()
            del product.layers[0].__dict__["forward"]
        self.products = []


def packs(weight: Tensor) -> bool:
    """Return True if a weight like this one is packed: a matrix in fp32 or bf16, on a CPU whose torch has oneDNN."""
    matrix = weight.device.type == "cpu" and weight.ndim == 2 and weight.numel() > 0
    return matrix and weight.dtype in TOLERANCE and _multiplies_right(weight.dtype)


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return packed


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y


_right: dict[torch.dtype, bool] = {}
"""By format: whether its packed products are right here. Tried once, because not every build has the operations."""


def _multiplies_right(dtype: torch.dtype) -> bool:
    if dtype not in _right:
        x, weight = (torch.linspace(-1, 2, rows * 48).view(rows, 48).to(dtype) for rows in (5, 32))
        expected = linear(x.float(), weight.float())
        try:
            found = _multiply(x, _pack(weight), None).float()
        except (AttributeError, RuntimeError, NotImplementedError):
            found = torch.full_like(expected, torch.nan)
        _right[dtype] = bool(torch.norm(found - expected) <= TOLERANCE[dtype] * torch.norm(expected))
    return _right[dtype]


def _sizes(layers: Sequence[nn.Linear]) -> list[int]:
    return [layer.out_features for layer in layers]


def _joined(layers: Sequence[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of layers with one input as those of one."""
    if len(layers) == 1:
        bias: Any = layers[0].bias
        return layers[0].weight.data, None if bias is None else bias.data
    weight = torch.cat([layer.weight.data for layer in layers])
    biases: list[Any] = [layer.bias for layer in layers]
    if all(one is None for one in biases):
        return weight, None
    parts = [
        weight.new_zeros(size) if one is None else one.data
        for one, size in zip(biases, _sizes(layers), strict=True)
    ]
    return weight, torch.cat(parts)
