"""Number of weights that an adapter trains, by its type, from the model's shape alone."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from engine.config.adapters import PROMPT_TYPES, Adapter
from engine.errors import ConfigError
from engine.models.architectures import unknown_layer_hint
from engine.models.language_model import ROUTERS, WEIGHING
from engine.models.shape import Linear, ModelShape

BLOCK_SIZES: Mapping[str, int] = {"oft": 32, "boft": 4}
"""PEFT's own, where the recipe leaves it open."""
EXPERTS = (*ROUTERS, "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
"""Names that in a mixture mean its experts and what routes to them: PEFT takes them so, whatever else has the name."""


LEFT_OUT = (*EXPERTS, *WEIGHING)
"""Names that `all-linear` does not mean in a mixture."""
MAMBA = ("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h")
"""Architectures whose kernels take weights past the layers that hold them: no adapter of `out_proj` is heard, and PEFT
refuses one there."""


def left_out(architecture: str, mixture: bool) -> tuple[str, ...]:
    """Names of linear layers that `all-linear` does not mean."""
    return (*(LEFT_OUT if mixture else ()), *(("out_proj",) if architecture in MAMBA else ()))


def trained_parameters(shape: ModelShape, adapter: Adapter, new_tokens: int = 0) -> int:
    """Weights that are trained: the adapter's with what is trained beside it, or all of the model's with type none.

    `shape` has rows for the `new_tokens` already. Raises ConfigError where the model has no layer of a given name, or a
    layer does not suit the type.
    """
    if adapter.type == "none":
        return shape.parameters
    return vocabulary_parameters(shape, adapter, new_tokens) + _of_layers(shape, adapter)


def vocabulary_parameters(shape: ModelShape, adapter: Adapter, new_tokens: int) -> int:
    """Weights of embedding and output layer that are trained beside an adapter: matrices whole, or rows of new tokens.

    A tied matrix is one, whichever of its names the recipe says; `shape` has rows for the new tokens already.
    """
    if adapter.type == "none":
        return 0
    matrices = 1 if shape.tied else 2
    whole = min(len(set(adapter.modules_to_save)), matrices)
    return (whole * shape.vocab + (matrices - whole) * new_tokens) * shape.hidden


def _of_layers(shape: ModelShape, adapter: Adapter) -> int:
    if adapter.type in PROMPT_TYPES:
        return _virtual_tokens(shape, adapter)
    layers = adapted(shape, adapter.target_modules)
    experts = [layer.name for layer in layers if layer in shape.experts]
    if experts and adapter.type != "lora":
        raise ConfigError(
            f"adapter.target_modules: {', '.join(experts)} are a mixture's experts, which only LoRA can train",
            f"Use adapter.type: lora, or leave them out for {adapter.type}.",
        )
    of_one = _OF_ONE[adapter.type]
    return sum(of_one(layer, adapter) * layer.count for layer in layers)


def adapted(shape: ModelShape, target_modules: Literal["all-linear"] | Sequence[str]) -> tuple[Linear, ...]:
    """The matrices that get an adapter. Raises ConfigError where the model has none of a given name.

    `all-linear` leaves out experts and what weighs them, and what kernels read past an adapter. A name that layers
    share with experts means the experts: PEFT takes it so.
    """
    shared = {layer.name for layer in shape.experts}
    beside = tuple(layer for layer in shape.linears if layer.name not in shared)
    if target_modules == "all-linear":
        without = left_out(shape.architecture, bool(shape.experts))
        return tuple(layer for layer in beside if layer.name not in without)
    known = (*beside, *shape.experts)
    names = dict.fromkeys(layer.name for layer in known)
    for unknown in sorted(set(target_modules) - set(names)):
        near = difflib.get_close_matches(unknown, names, n=1)
        raise ConfigError(
            f"adapter.target_modules: the model has no layers called {unknown}"
            + (f"; did you mean {near[0]}?" if near else "."),
            unknown_layer_hint(shape.architecture, names),
        )
    return tuple(layer for layer in known if layer.name in target_modules)


def initial_rank(adapter: Adapter) -> int:
    """The rank that AdaLoRA starts with: half as much again as it ends with, as in its paper (arXiv:2303.10512)."""
    return adapter.initial_rank or math.ceil(1.5 * adapter.rank)


def block_size(layer: Linear, adapter: Adapter) -> int:
    """Width of the blocks that OFT and BOFT turn. Raises ConfigError where it does not divide the layer's inputs."""
    size = adapter.block_size or BLOCK_SIZES[adapter.type]
    if layer.inputs % size:
        raise ConfigError(
            f"adapter.block_size: {size} does not divide the {layer.inputs} inputs of {layer.name}",
            f"Use a divisor of it, as {math.gcd(size, layer.inputs)}.",
        )
    return size


def _lora(layer: Linear, adapter: Adapter) -> int:
    return adapter.rank * (layer.inputs + layer.outputs)


def _dora(layer: Linear, adapter: Adapter) -> int:
    return _lora(layer, adapter) + layer.outputs


def _adalora(layer: Linear, adapter: Adapter) -> int:
    return initial_rank(adapter) * (layer.inputs + layer.outputs + 1)


def _ia3(layer: Linear, adapter: Adapter) -> int:
    return layer.outputs


def _loha(layer: Linear, adapter: Adapter) -> int:
    return 2 * _lora(layer, adapter)


def _lokr(layer: Linear, adapter: Adapter) -> int:
    """One small matrix whole, the other whole or as a product, of the Kronecker product that has the layer's shape."""
    rows, columns = _small_factor(layer.outputs), _small_factor(layer.inputs)
    tall, wide = layer.outputs // rows, layer.inputs // columns
    whole = adapter.rank >= max(tall, wide) / 2
    return rows * columns + (tall * wide if whole else adapter.rank * (tall + wide))


def _small_factor(size: int) -> int:
    """The largest divisor that is not above the square root."""
    return next(number for number in range(math.isqrt(size), 0, -1) if size % number == 0)


def _oft(layer: Linear, adapter: Adapter) -> int:
    """Each block is turned by a skew-symmetric matrix, of which one triangle is free."""
    return layer.inputs * (block_size(layer, adapter) - 1) // 2


def _boft(layer: Linear, adapter: Adapter) -> int:
    return layer.inputs * block_size(layer, adapter) + layer.outputs


def _vera(layer: Linear, adapter: Adapter) -> int:
    return layer.outputs + adapter.rank


def _virtual_tokens(shape: ModelShape, adapter: Adapter) -> int:
    tokens, hidden = adapter.virtual_tokens, shape.hidden
    if adapter.type == "prefix":  # a key and a value for every layer
        return tokens * 2 * shape.layers * shape.kv_heads * shape.head_dim
    if adapter.type == "prompt":
        return tokens * hidden
    inner = adapter.encoder_size or hidden  # a network of three layers with biases
    return tokens * hidden + (hidden + 1) * inner + (inner + 1) * inner + (inner + 1) * hidden


_OF_ONE: Mapping[str, Callable[[Linear, Adapter], int]] = {
    "lora": _lora,
    "dora": _dora,
    "adalora": _adalora,
    "ia3": _ia3,
    "loha": _loha,
    "lokr": _lokr,
    "oft": _oft,
    "boft": _boft,
    "vera": _vera,
}
