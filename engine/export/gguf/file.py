"""GGUF files, written one tensor at a time: keys and the list of tensors first, then their values as they are made."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from engine.export.gguf.mixtures import bytes_of
from engine.export.gguf.quantise import pieces, quantised
from engine.export.gguf.tensors import Source


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor of a file that is to be written."""

    source: Source
    type: str
    """GGUF's name of its type, as `Q4_K`."""

    @property
    def bytes(self) -> int:
        return bytes_of(self.type, self.source.shape)


def write_file(
    path: Path,
    architecture: str,
    metadata: Mapping[str, Any],
    tensors: Sequence[PlannedTensor],
    heartbeat: Callable[[], None],
) -> None:
    """Write a GGUF file; some blocks of rows are in memory at a time. Raises OSError where the disk says no."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    try:
        for key, value in metadata.items():
            add_value(writer, key, value)
        for tensor in tensors:
            kind = gguf.GGMLQuantizationType[tensor.type]
            writer.add_tensor_info(
                tensor.source.name, tensor.source.shape, np.dtype(np.float32), tensor.bytes, kind
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        file = writer.fout[0]
        for tensor in tensors:
            writer.write_padding(file, file.tell())
            for rows in pieces(tensor.source.blocks()):
                heartbeat()
                file.write(quantised(rows, tensor.type).data)
        writer.write_padding(file, file.tell())
    finally:
        writer.close()


def add_value(writer: Any, key: str, value: Any) -> None:
    """Put a key into a file, in the type that its value has: whole numbers as uint32, floats as float32."""
    match value:
        case bool():
            writer.add_bool(key, value)
        case IntEnum() | int():
            writer.add_uint32(key, int(value))
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case Iterable():
            writer.add_array(key, value)
        case _:
            raise TypeError(f"{key}: {type(value).__name__}")
