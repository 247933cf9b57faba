"""Weights that a folder holds in few bits, as MLX and bitsandbytes pack them, read as the numbers they stand for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import ModelError
from engine.models.local import read_config
from engine.models.mlx_names import transformers_name
from engine.models.prequantized import MLX, Packed
from engine.models.tensors import FileTensors, Float32, FolderTensors, RowTensors
from engine.models.weight_headers import TensorInfo

FORMATS = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
"""Names of number formats in settings, and in safetensors headers."""
STATE = ".quant_state.bitsandbytes__"


def quantization_of(folder: Path) -> str | None:
    """Name of how a folder holds its weights in few bits, as `4-bit MLX`; None where it does not.

    Raises ModelError where config.json cannot be read.
    """
    config = read_config(folder)
    if packed := Packed.of(config):
        return str(packed)
    about = config.get("quantization_config")
    if not isinstance(about, dict):
        return None
    bits = about.get("bits") or (4 if about.get("load_in_4bit") else 8 if about.get("load_in_8bit") else None)
    method = str(about.get("quant_method", "quantised"))
    return f"{bits}-bit {method}" if bits else method


def open_weights(folder: Path) -> RowTensors:
    """The weights of a folder, plain or in few bits. Raises ModelError for a packing that ft does not read."""
    held = quantization_of(folder)
    if held is None:
        return FolderTensors(folder)
    config, files = read_config(folder), FolderTensors(folder).files
    if held.endswith(MLX):
        about = config.get("quantization") or config["quantization_config"]
        if about.get("mode", "affine") == "affine" and not any(
            ".switch_mlp." in name for name in files.infos
        ):
            return MlxTensors(files, str(config.get("model_type")), about)
        raise _not_read(folder, f"{held} ({about.get('mode', 'affine')}, or a mixture of experts)")
    if held.endswith("bitsandbytes"):
        return BitsandbytesTensors(files)
    raise _not_read(folder, held)


def _not_read(folder: Path, held: str) -> ModelError:
    return ModelError(
        f"{folder} has {held} weights, which ft does not turn back into full ones.",
        "Merge onto the model that they were made from: fetch it with `ft models pull`; its model card names it.",
    )


@dataclass(frozen=True)
class MlxTensors:
    """A folder of MLX: groups of weights in few bits, each with a scale and a bias, w = q * scale + bias.

    The numbers of a row are one stream of bits, the lowest first, in every width that MLX has.
    """

    files: FileTensors
    kind: str
    """config.json's `model_type`"""
    settings: Mapping[str, Any]

    @cached_property
    def _stored(self) -> Mapping[str, str]:
        """Names in the files by those of transformers."""
        return {
            transformers_name(self.kind, name): name
            for name in self.files.infos
            if not (name.endswith((".scales", ".biases")) and self._weight_of(name) in self.files.infos)
        }

    @cached_property
    def infos(self) -> Mapping[str, TensorInfo]:
        found = {}
        for name, stored in self._stored.items():
            info = self.files.infos[stored]
            scales = self.files.infos.get(_beside(stored, "scales"))
            if scales is not None and info.dtype == "U32":
                shape = (*scales.shape[:-1], scales.shape[-1] * self._group(stored))
                info = TensorInfo(name, scales.dtype, shape)
            found[name] = TensorInfo(name, info.dtype, info.shape)
        return found

    def read(self, name: str) -> Float32:
        return self.read_rows(name, 0, (*self.infos[name].shape, 1)[0])

    def read_rows(self, name: str, start: int, stop: int) -> Float32:
        stored = self._stored[name]
        if self.files.infos[stored].dtype != "U32":
            return self.files.read_rows(stored, start, stop)
        packed = self.files.read_integers(stored, start, stop)
        columns = self.infos[name].shape[-1]
        bits = 32 * packed.shape[-1] // columns
        scales, biases = (
            self.files.read_rows(_beside(stored, part), start, stop) for part in ("scales", "biases")
        )
        values = _unpacked(packed, bits).reshape(*scales.shape, -1)
        made = values * scales[..., None] + biases[..., None]
        return made.reshape(stop - start, *self.infos[name].shape[1:])

    def _group(self, stored: str) -> int:
        own = self.settings.get(stored.removesuffix(".weight"))
        return int((own if isinstance(own, dict) else self.settings)["group_size"])

    @staticmethod
    def _weight_of(name: str) -> str:
        return f"{name.rpartition('.')[0]}.weight"


def _beside(name: str, part: str) -> str:
    return f"{name.removesuffix('.weight')}.{part}"


def _unpacked(packed: npt.NDArray[np.integer], bits: int) -> Float32:
    """Whole numbers of `bits` bits each out of 32-bit words `[…, words]`, as fp32 `[…, numbers]`."""
    octets = np.ascontiguousarray(packed).view(np.uint8)
    if bits == 8:
        return octets.astype(np.float32)
    stream = np.unpackbits(octets, axis=-1, bitorder="little")
    places = stream.reshape(*stream.shape[:-1], -1, bits)
    return np.asarray(places @ (1 << np.arange(bits)), np.float32)


@dataclass(frozen=True)
class BitsandbytesTensors:
    """A folder of transformers with layers packed by bitsandbytes: NF4 and FP4 with blockwise scales, or int8 by rows.

    The layout is that of bitsandbytes' `QuantState.as_dict(packed=True)`, and `SCB` of its `Linear8bitLt`.
    """

    files: FileTensors

    @cached_property
    def _states(self) -> Mapping[str, Mapping[str, Any]]:
        """Settings of each 4-bit tensor, by its name."""
        found = {}
        for name, info in self.files.infos.items():
            weight, mark, _ = name.partition(STATE)
            if mark:
                found[weight] = json.loads(self.files.read_integers(name, 0, info.shape[0]).tobytes())
        return found

    @cached_property
    def infos(self) -> Mapping[str, TensorInfo]:
        found = {}
        for name, info in self.files.infos.items():
            if any(name.startswith(f"{weight}.") for weight in (name.rpartition(".weight.")[0] + ".weight",)):
                continue  # how a 4-bit weight is packed
            if name.endswith((".SCB", ".weight_format")):
                continue
            if state := self._states.get(name):
                info = TensorInfo(name, FORMATS[state["dtype"]], tuple(state["shape"]))
            elif info.dtype == "I8":
                info = TensorInfo(name, "F16", info.shape)
            found[name] = info
        return found

    def read(self, name: str) -> Float32:
        return self.read_rows(name, 0, (*self.infos[name].shape, 1)[0])

    def read_rows(self, name: str, start: int, stop: int) -> Float32:
        if state := self._states.get(name):
            return self._of_4bit(name, state, start, stop)
        if self.files.infos[name].dtype == "I8":
            scales = self.files.read_rows(name.removesuffix("weight") + "SCB", start, stop)
            return np.asarray(
                self.files.read_integers(name, start, stop) * (scales / 127)[:, None], np.float32
            )
        return self.files.read_rows(name, start, stop)

    def _of_4bit(self, name: str, state: Mapping[str, Any], start: int, stop: int) -> Float32:
        shape, size = self.infos[name].shape, int(state["blocksize"])
        row, total = prod(shape[1:]), prod(shape)
        first, last = start * row, stop * row
        begin, end = first // size, -(-last // size)
        octets = self.files.read_integers(
            name, begin * size // 2, min(end * size, total + total % 2) // 2
        ).reshape(-1)
        codes = np.stack([octets >> 4, octets & 15], axis=-1).reshape(-1)
        values = self.files.read(f"{name}.quant_map")[codes]
        scales = np.repeat(self._scales(name, state, begin, end), size)[: len(values)]
        made = values * scales
        return np.asarray(made[first - begin * size : last - begin * size].reshape(stop - start, *shape[1:]))

    def _scales(self, name: str, state: Mapping[str, Any], begin: int, end: int) -> Float32:
        """Scales of blocks; with nested quantisation they are in 8 bits themselves, by blocks of their own."""
        stored = f"{name}.absmax"
        if "nested_blocksize" not in state:
            return self.files.read_rows(stored, begin, end)
        codes = self.files.read_integers(stored, begin, end)
        values = self.files.read(f"{name}.nested_quant_map")[codes]
        outer = self.files.read(f"{name}.nested_absmax")[
            np.arange(begin, end) // int(state["nested_blocksize"])
        ]
        return np.asarray(values * outer + np.float32(state["nested_offset"]), np.float32)
