"""Number formats that weights are written in: their bytes from fp32 values, and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.models.tensors import Float32
from engine.models.weights import bfloat16_bits


@dataclass(frozen=True)
class Encoding:
    """A number format: `dtype` of a safetensors header, its name in config.json, bytes of a value."""

    dtype: str
    config_name: str
    width: int
    encode: Callable[[Float32], npt.NDArray[np.generic]]
    decode: Callable[[npt.NDArray[np.generic]], Float32]


def _to_half(values: Float32) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):  # the writer refuses an infinity by the tensor's name
        return values.astype("<f2")


def _same(values: Float32) -> Float32:
    return np.ascontiguousarray(values, "<f4")


def _from_bfloat16(bits: npt.NDArray[np.generic]) -> Float32:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _from_other(values: npt.NDArray[np.generic]) -> Float32:
    return values.astype(np.float32)


ENCODINGS: Mapping[str, Encoding] = {
    "bf16": Encoding("BF16", "bfloat16", 2, bfloat16_bits, _from_bfloat16),
    "fp16": Encoding("F16", "float16", 2, _to_half, _from_other),
    "fp32": Encoding("F32", "float32", 4, _same, _from_other),
}
"""By the names that recipes have for them."""
BY_DTYPE = {encoding.dtype: name for name, encoding in ENCODINGS.items()}
