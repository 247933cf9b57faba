"""A model of mlx-lm's some of whose weights are given by name, and filled in one at a time as they are written."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_map
from mlx_lm.utils import get_total_parameters, load_model, make_shards

from engine.backends.mlx import families
from engine.backends.mlx.model import CHECK
from engine.errors import FtError, ModelError, first_line
from engine.hardware.memory import is_exhaustion
from engine.models.local import read_config
from engine.models.mlx_names import TRANSFORMERS_PREFIX
from engine.models.tensors import Tensors

SHARD_GB = 1
"""Size of a file: as much is in memory while it is written."""
DTYPES = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}
Heartbeat = Callable[[], None]


@dataclass(frozen=True)
class GivenWeights:
    """Weights that take the place of those in a model's folder, by the names of transformers' model."""

    tensors: Tensors
    names: Collection[str]
    dropped: Collection[str] = ()
    """Tensors of the folder that the model does not have."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Settings of config.json that are others with them; None takes one out."""
    repacked: bool = False
    """True if the folder's weights are in few bits, and those that take their places are packed in the same way."""

    @property
    def is_whole(self) -> bool:
        """True if the folder's own weights are not read at all."""
        return set(self.names) >= self.tensors.infos.keys()


def open_filled(folder: Path, given: GivenWeights) -> tuple[Any, dict[str, Any]]:
    """The model of a folder with places for the given weights, nothing of it read yet, and its config.

    Raises ModelError where it does not load in MLX.
    """
    config = {**read_config(folder), **given.config}
    config = {name: value for name, value in config.items() if value is not None}
    try:
        model, about = load_model(
            folder,
            lazy=True,
            model_config={**given.config, **config, **families.settings(config)},
            get_model_classes=lambda config: _classes(config, folder, given),
        )
    except Exception as error:  # the settings of a stranger can go wrong in any way
        if is_exhaustion(error) or isinstance(error, FtError):
            raise
        raise ModelError(f"{folder}: the model does not load in MLX: {first_line(error)}", CHECK) from error
    return model, {name: value for name, value in about.items() if value is not None}


def _classes(config: dict[str, Any], folder: Path, given: GivenWeights) -> tuple[Any, Any]:
    """mlx-lm's classes, whose model gets places for the given weights."""
    classes: tuple[Any, Any] = families.hooks(config, folder)["get_model_classes"](config)
    known: Any = classes[0]
    if given.repacked:
        return classes
    infos = given.tensors.infos

    class Filled(known):
        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            kept = {} if given.is_whole else {n: v for n, v in weights.items() if n not in given.dropped}
            places = {name: mx.zeros(infos[name].shape, DTYPES[infos[name].dtype]) for name in given.names}
            return super().sanitize(kept | places) if hasattr(known, "sanitize") else kept | places

    return Filled, classes[1]


class Filling:
    """Arrays of a model's parameters, those of given weights made when they are asked for."""

    def __init__(self, model: Any, kind: str, given: GivenWeights) -> None:
        """`kind` is config.json's `model_type`. Raises ModelError where MLX lays out one of the weights otherwise."""
        self._modules = dict(model.named_modules())
        self._given = given
        self._sources = {_parameter(self._modules, kind, name): name for name in given.names}
        if None in self._sources:
            name = self._sources[None]
            raise ModelError(
                f"mlx-lm's {kind} holds {name} in a form of its own, into which it cannot be merged one at a time.",
                "Merge first, then convert: ft export RUN --format merged -o FOLDER; ft models convert FOLDER",
            )
        self._last: tuple[str, dict[str, mx.array]] = ("", {})

    def array(self, path: str, own: mx.array) -> mx.array:
        """The parameter at a path; `own` where its values are not given."""
        layer, _, part = path.rpartition(".")
        stem = f"{layer}.weight" if part in ("scales", "biases") else path
        if stem not in self._sources:
            return own
        if self._last[0] != stem:
            self._last = (stem, self._made(stem, own.shape))
        return self._last[1][path].astype(own.dtype)

    def _made(self, stem: str, shape: tuple[int, ...]) -> dict[str, mx.array]:
        """Arrays of a weight of a shape; packed ones have scales and biases beside them."""
        path, _, part = stem.rpartition(".")
        layer, value = self._modules[path], self._given.tensors.read(self._sources[stem])
        if isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding) and part == "weight":
            packed = mx.quantize(
                mx.array(value), group_size=layer.group_size, bits=layer.bits, mode=layer.mode
            )
            names = (stem, f"{path}.scales", f"{path}.biases")
            return dict(zip(names, packed, strict=False))  # some modes have no biases
        return {stem: mx.array(np.ascontiguousarray(value if value.shape == shape else value.T))}


def save_filled(out: Path, model: Any, filling: Filling, heartbeat: Heartbeat) -> None:
    """Write the weights as `mlx_lm.utils.save_model` does, in files of one gigabyte. Raises OSError, RuntimeError."""
    arrays = dict(tree_flatten(model.parameters()))
    total = {
        "total_size": sum(v.nbytes for v in arrays.values()),
        "total_parameters": get_total_parameters(model),
    }
    shards = make_shards(arrays, SHARD_GB)
    arrays.clear()
    model.update(tree_map(lambda _: mx.array([]), model.parameters()))
    places: dict[str, str] = {}
    for number in range(len(shards)):
        shard, shards[number] = shards[number], {}
        name = (
            f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
            if len(shards) > 1
            else "model.safetensors"
        )
        for path in shard:
            shard[path] = filling.array(path, shard[path])
            mx.eval(shard[path])
            heartbeat()
        mx.save_safetensors(str(out / name), shard, metadata={"format": "mlx"})
        places |= dict.fromkeys(shard, name)
    index = {"metadata": total, "weight_map": dict(sorted(places.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=4), encoding="utf-8")


def _parameter(modules: dict[str, Any], kind: str, name: str) -> str | None:
    """Path of the parameter that holds a weight of transformers' model; None where none does alone."""
    prefix = TRANSFORMERS_PREFIX.get(kind, "")
    for candidate in (families.mlx_name(kind, name), families.mlx_name(kind, prefix + name), f"model.{name}"):
        path, _, part = candidate.rpartition(".")
        if path in modules and part in modules[path]:
            return candidate
    return None
