"""Initial values of an adapter on a model of mlx-lm, and what PiSSA and OLoRA take out of its weights for that."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

from engine.backends.adapter_init import (
    FROM_WEIGHTS,
    Float32,
    Layer,
    Product,
    draw_start,
    quantised_start,
    scaling,
)
from engine.backends.mlx.layers import inputs_of, row_squares
from engine.config.adapters import Adapter

Values = dict[str, Float32]
"""A layer's parameters by their names here: lora_A, lora_B, magnitude."""


def values_of(wanted: Adapter, seed: int, named: Mapping[str, str], model: Any) -> dict[str, Values]:
    """Values of the layers of a fresh adapter, by path in the model; `named` has the paths by transformers' names.

    DoRA's magnitudes, where they are not simply those of the weights in the layer. Raises ConfigError where the
    layers cannot start so.
    """
    modules = dict(model.named_modules())
    layers = {name: _layer(modules[path], wanted) for name, path in named.items()}
    scale = scaling(wanted.alpha, wanted.rank, wanted.rslora)
    found: dict[str, Values] = {}
    for name, a, b in draw_start(layers, wanted.init, seed, scale, wanted.rank):
        found[named[name]] = {"lora_A": a, "lora_B": b}
        if wanted.type == "dora" and wanted.init in FROM_WEIGHTS:
            # The layer will hold what is left of the weights, and the start adds up to them as they are.
            found[named[name]]["magnitude"] = np.array(mx.sqrt(row_squares(modules[named[name]])))
    return found


def _layer(module: Any, wanted: Adapter) -> Layer:
    """An adapted layer as its start is drawn for."""

    def products() -> tuple[Product, Product]:
        if isinstance(module, nn.QuantizedLinear):
            raise quantised_start(wanted.init)
        weight = module.weight.astype(mx.float32)
        return _product(weight), _product(weight.T)

    return Layer(wanted.rank, inputs_of(module), module.weight.shape[0], products)


def _product(weight: mx.array) -> Product:
    return lambda x: np.array(weight @ mx.array(x))


def shift(layer: Any, factors: Mapping[str, Float32], scale: float) -> None:
    """Add s B A to the weights of a dense linear layer, which keep their format."""
    update = scale * (mx.array(factors["lora_B"]) @ mx.array(factors["lora_A"]))
    layer.weight = (layer.weight.astype(mx.float32) + update).astype(layer.weight.dtype)
    mx.eval(layer.weight)


def flat(taken: Mapping[str, Values]) -> Values:
    """A and B by path and name."""
    return {f"{path}.{name}": value for path, values in taken.items() for name, value in values.items()}


def retake(
    model: Any, taken: Mapping[str, Values], saved: Mapping[str, Float32], scale: float
) -> dict[str, Values]:
    """Let the weights be without `saved` (as of `flat`) in place of `taken`, and return it as `taken` is.

    The same machine takes the same parts out again; from another one, the weights are put right.
    """
    modules, then = dict(model.named_modules()), {}
    for path, now in taken.items():
        then[path] = {name: saved[f"{path}.{name}"] for name in now}
        if any(not np.array_equal(now[name], then[path][name]) for name in now):
            both = {
                "lora_A": np.concatenate([now["lora_A"], then[path]["lora_A"]], 0),
                "lora_B": np.concatenate([now["lora_B"], -then[path]["lora_B"]], 1),
            }
            shift(modules[path].base, both, scale)
            if hasattr(modules[path], "measure"):
                modules[path].measure()
    return then
