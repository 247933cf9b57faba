"""Quantisation of rows. libgguf, which the slow types take, uses all cores by itself."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import MachineError
from engine.models.tensors import Float32

Bytes = npt.NDArray[np.uint8]
PIECE = 1 << 20
"""Weights that are quantised at a time."""


def quantised(rows: Float32, kind: str) -> Bytes:
    """The bytes of rows `[rows, width]` in a type; the width is a whole number of the type's blocks.

    libgguf is several times as fast as gguf and makes the same bytes; it is not installed everywhere.
    """
    if kind == "F32":
        made: npt.NDArray[Any] = rows
    elif kind == "F16":
        made = rows.astype(np.float16)
    elif find_spec("libgguf") is not None:
        import libgguf

        made = libgguf.quantize_rows(rows, libgguf.GGMLQuantizationType[kind])
    else:
        from gguf import GGMLQuantizationType
        from gguf.quants import quantize

        made = quantize(rows, GGMLQuantizationType[kind])
    return np.ascontiguousarray(made).reshape(-1).view(np.uint8)


def pieces(blocks: Iterable[Float32]) -> Iterator[Float32]:
    """Blocks of whole rows, cut so that none has more than about `PIECE` weights."""
    for block in blocks:
        rows = block.reshape(-1, block.shape[-1])
        step = max(1, PIECE // rows.shape[1])
        for start in range(0, len(rows), step):
            yield rows[start : start + step]


def require_libgguf() -> None:
    """Raise MachineError where libgguf is not installed."""
    if find_spec("libgguf") is None:
        raise MachineError(
            "K-quants need libgguf, which is not installed here.",
            "pip install libgguf, or export to q8_0, q5_1 or q4_1, which do without.",
        )
