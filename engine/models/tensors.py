"""Tensors by name: the one form in which weights are read, whichever files, adapters or quantised layouts hold them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.errors import ModelError
from engine.models.local import weight_files
from engine.models.weight_headers import TensorInfo, places
from engine.models.weights import NUMBERS, read_values
from engine.storage.regular_files import open_binary

Float32 = npt.NDArray[np.float32]
INTEGERS = {"U8": "u1", "I8": "i1", "U32": "<u4", "I32": "<i4"}
"""numpy's types of the formats that packed weights are held in."""


class Tensors(Protocol):
    """The weights of a model. Tensors are read one at a time, in any order, so that memory holds no more."""

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Name, number format and shape of every tensor, in the order of the files."""
        ...

    def read(self, name: str) -> Float32:
        """Values of a tensor in fp32, in its own shape. Raises KeyError for a name that is not in `infos`, ModelError
        where its values cannot be read."""
        ...


class RowTensors(Tensors, Protocol):
    """Weights of which a part can be read too, so that memory need not hold even one large tensor."""

    def read_rows(self, name: str, start: int, stop: int) -> Float32:
        """Values from `start` to `stop` along a tensor's first axis. Raises as `read` does."""
        ...


@dataclass(frozen=True)
class FileTensors:
    """Weights as they lie in safetensors files. Its members raise ModelError where one is torn."""

    files: Sequence[Path]

    @cached_property
    def places(self) -> Mapping[str, tuple[TensorInfo, Path, int]]:
        """Description of each tensor, its file, and the byte at which it begins there."""
        return {info.name: (info, file, start) for file in self.files for info, start in places(file)}

    @cached_property
    def infos(self) -> Mapping[str, TensorInfo]:
        return {name: info for name, (info, _, _) in self.places.items()}

    def read(self, name: str) -> Float32:
        info, file, start = self.places[name]
        return read_values(file, info, start)

    def read_rows(self, name: str, start: int, stop: int) -> Float32:
        info, file, begin = self.places[name]
        width = np.dtype(NUMBERS.get(info.dtype, "u1")).itemsize
        part = replace(info, shape=(stop - start, *info.shape[1:]))
        return read_values(file, part, begin + start * prod(info.shape[1:]) * width)

    def read_integers(self, name: str, start: int, stop: int) -> npt.NDArray[np.integer]:
        """Rows of a tensor of whole numbers, as packed weights are. Raises ModelError for one of another format."""
        info, file, begin = self.places[name]
        if info.dtype not in INTEGERS:
            raise ModelError(
                f"{file}: {name} is held as {info.dtype}, not as whole numbers.", "Copy it again."
            )
        kind, row = np.dtype(INTEGERS[info.dtype]), prod(info.shape[1:])
        with open_binary(file) as handle:
            handle.seek(begin + start * row * kind.itemsize)
            values = np.frombuffer(handle.read((stop - start) * row * kind.itemsize), kind)
        return values.reshape(stop - start, *info.shape[1:])


@dataclass(frozen=True)
class FolderTensors:
    """Weights of a model's folder, as its safetensors files hold them. See `FileTensors`."""

    folder: Path

    @cached_property
    def files(self) -> FileTensors:
        return FileTensors(weight_files(self.folder))

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        return self.files.infos

    def read(self, name: str) -> Float32:
        return self.files.read(name)

    def read_rows(self, name: str, start: int, stop: int) -> Float32:
        """See `RowTensors`."""
        return self.files.read_rows(name, start, stop)
