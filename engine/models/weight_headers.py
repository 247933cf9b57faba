"""Headers of safetensors files: the tensors of one, without their values, and without numpy.

A file is: length of the header (8 bytes, little endian), JSON header, raw data. The format is described at
https://github.com/huggingface/safetensors#format
"""

import json
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from engine.errors import ModelError
from engine.storage.regular_files import open_binary

HEADER_LIMIT = 100_000_000
"""Longest header that the format allows, in bytes."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file, as its header describes it. Raises ValueError for a shape or type that none has."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        whole = all(type(length) is int and length >= 0 for length in self.shape)
        if not whole or not re.fullmatch(r"[A-Z][A-Z0-9_]{0,15}", self.dtype):
            raise ValueError(f"{self.name}: {self.dtype} {self.shape}")

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


Header = tuple[TensorInfo, ...]


def read_header(path: Path) -> Header:
    """The tensors that a safetensors file holds, without reading their values.

    Raises ModelError where the file is torn, cut off, or something else.
    """
    return tuple(info for info, _ in places(path))


def places(path: Path) -> tuple[tuple[TensorInfo, int], ...]:
    """The tensors of a file, and at which byte each begins. Raises ModelError as `read_header` does."""
    again = "It was damaged or not copied whole; get the file again."
    try:
        size = path.stat().st_size
        with open_binary(path) as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= min(size, HEADER_LIMIT) else b""
        tensors = {name: about for name, about in json.loads(text).items() if name != "__metadata__"}
        found = tuple(
            (TensorInfo(name, str(t["dtype"]), tuple(t["shape"])), 8 + length + int(t["data_offsets"][0]))
            for name, t in tensors.items()
        )
        end = 8 + length + max((int(t["data_offsets"][1]) for t in tensors.values()), default=0)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}.", "Check the file's permissions."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelError(f"{path} is not a whole safetensors file.", again) from error
    if size != end:
        raise ModelError(f"{path} is cut off: it has {size:,} bytes of {end:,}.", again)
    return found
