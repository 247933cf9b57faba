"""Frozen weights as the products need them: cast or dequantised one layer at a time, never kept."""

from typing import Any

import torch
from torch import Tensor, nn


def dense(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """The `[outputs, inputs]` weight of a linear layer in `dtype`; a fresh tensor unless it is held so."""
    weight: Any = layer.weight
    kind = type(weight).__name__
    if kind == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        # The CPU packing of bitsandbytes keeps the transposed shape in `quant_state`; it restores [out, in].
        return dequantize_4bit(weight.data, weight.quant_state).to(dtype)
    if kind == "Int8Params":
        scale = weight.SCB if weight.SCB is not None else layer.state.SCB
        return weight.data.to(dtype) * (scale.to(dtype) / 127).unsqueeze(1)
    return weight.detach().to(dtype)


def is_quantised(layer: nn.Module) -> bool:
    """Return True if bitsandbytes holds this layer's weight."""
    return type(getattr(layer, "weight", None)).__name__ in ("Params4bit", "Int8Params")
