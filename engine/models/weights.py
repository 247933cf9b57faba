"""Write tensors as bf16 safetensors, one at a time, without torch. Format: https://github.com/huggingface/safetensors"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt


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
