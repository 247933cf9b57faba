"""Tensors by name: the one form in which weights are read, whichever files, adapters or quantised layouts hold them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.models.local import weight_files
from engine.models.weights import TensorInfo, places, read_values

Float32 = npt.NDArray[np.float32]


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


@dataclass(frozen=True)
class FolderTensors:
    """Weights as they lie in a model folder's safetensors files. Its properties raise ModelError where one is torn."""

    folder: Path

    @cached_property
    def _places(self) -> Mapping[str, tuple[TensorInfo, Path, int]]:
        return {
            info.name: (info, file, start)
            for file in weight_files(self.folder)
            for info, start in places(file)
        }

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        return {name: info for name, (info, _, _) in self._places.items()}

    def read(self, name: str) -> Float32:
        info, file, start = self._places[name]
        return read_values(file, info, start)
