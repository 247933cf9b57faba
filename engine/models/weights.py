"""Values of safetensors files without torch: read them, look for NaN, write a file in bf16 tensor by tensor."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import ModelError
from engine.models.weight_headers import TensorInfo, places
from engine.storage.regular_files import open_binary

EXPONENTS = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
"""The exponent's bits of a number format: all of them are set in a NaN and in an infinity alone (IEEE 754)."""


@dataclass(frozen=True)
class PendingTensor:
    """A tensor's place in the file, and how to make its float32 values when their turn comes."""

    name: str
    shape: tuple[int, ...]
    values: Callable[[], npt.NDArray[np.float32]]


def bfloat16_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The bf16 patterns of finite values, rounded to nearest, ties to even, as torch rounds them."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
        "<u2"
    )


def write_bfloat16(path: Path, tensors: Sequence[PendingTensor]) -> Iterable[int]:
    """Write all tensors as bf16, holding one in memory at a time; yields the bytes written so far.

    The file holds: header length (8 bytes, little endian), JSON header padded to 8 bytes, raw data.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + 2 * prod(tensor.shape)
        header[tensor.name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            values = tensor.values()
            if values.shape != tensor.shape:
                raise ValueError(f"{tensor.name} is {values.shape}, not {tensor.shape}")
            file.write(bfloat16_bits(values).tobytes())
            yield file.tell()


NUMBERS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""numpy's types of the formats that weights are held in; bf16 as its bits."""


def read_floats(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """All tensors of a file in fp32, without torch. Raises ModelError where it is not whole or holds other numbers."""
    return {info.name: read_values(path, info, start) for info, start in places(path)}


def read_values(path: Path, info: TensorInfo, start: int) -> npt.NDArray[np.float32]:
    """One tensor of a file in fp32, from the byte `start` on, without torch.

    Raises ModelError where its numbers are of a format that is not floating-point.
    """
    if info.dtype not in NUMBERS:
        raise ModelError(
            f"{path}: {info.name} is held as {info.dtype}, which is not a floating-point format.",
            "Use the file as it was published.",
        )
    with open_binary(path) as file:
        file.seek(start)
        kind = np.dtype(NUMBERS[info.dtype])
        values = np.frombuffer(file.read(info.size * kind.itemsize), kind)
    if info.dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False).reshape(info.shape)


def not_finite(path: Path) -> list[str]:
    """Names of the tensors of a safetensors file that hold a NaN or an infinity, in the order of the file.

    One tensor is in memory at a time. Raises ModelError as `read_header` does.
    """
    found = []
    for info, start in places(path):
        kind, exponent = EXPONENTS.get(info.dtype, ("", 0))
        if kind and info.size:
            bits = np.memmap(path, kind, mode="r", offset=start, shape=(info.size,))
            if ((bits & bits.dtype.type(exponent)) == exponent).any():
                found.append(info.name)
    return found
