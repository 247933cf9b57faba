"""Quantisation of rows, many at the same time: by gguf in threads, K types by libgguf in processes."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import MachineError
from engine.hardware.probe import usable_cores
from engine.models.tensors import Float32

Bytes = npt.NDArray[np.uint8]
PIECE = 1 << 20
"""Weights that are quantised at a time."""


@contextmanager
def quantiser(
    kinds: Iterable[str], workers: int | None = None
) -> Iterator[Callable[[Iterable[Float32], str], Iterator[Bytes]]]:
    """A function that quantises blocks of rows to a type, in their order, `workers` at a time (default: all cores).

    libgguf holds the interpreter's lock while it works, so that its types take processes; numpy does not. Raises
    MachineError where a K type is wanted and libgguf is not installed.
    """
    count = workers or usable_cores()
    in_processes = any(kind.endswith("_K") for kind in kinds)
    if in_processes:
        _require_libgguf()
        pool: Executor = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
    else:
        pool = ThreadPoolExecutor(count)

    def quantise(blocks: Iterable[Float32], kind: str) -> Iterator[Bytes]:
        waiting: deque[Future[Bytes]] = deque()
        for block in blocks:
            if kind in DIRECT:
                yield quantised(block, kind)
                continue
            waiting.append(pool.submit(quantised, block, kind))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    with pool:
        yield quantise


DIRECT = ("F32",)
"""Types that are no work."""


def quantised(rows: Float32, kind: str) -> Bytes:
    """The bytes of rows `[rows, width]` in a type; the width is a whole number of the type's blocks."""
    if kind.endswith("_K"):
        import libgguf

        return np.asarray(libgguf.quantize_rows(rows, libgguf.GGMLQuantizationType[kind])).reshape(-1)
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    values: npt.NDArray[Any] = quantize(rows, GGMLQuantizationType[kind])
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def pieces(blocks: Iterable[Float32]) -> Iterator[Float32]:
    """Blocks of whole rows, cut so that none has more than about `PIECE` weights."""
    for block in blocks:
        rows = block.reshape(-1, block.shape[-1])
        step = max(1, PIECE // rows.shape[1])
        for start in range(0, len(rows), step):
            yield rows[start : start + step]


def _require_libgguf() -> None:
    from importlib.util import find_spec

    if find_spec("libgguf") is None:
        raise MachineError(
            "K-quants need libgguf, which is not installed here.",
            "pip install libgguf. Or export to q8_0, q5_0 or q4_0, which do without.",
        )
