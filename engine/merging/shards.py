"""Full weights into safetensors files, a block at a time, with a measure of what rounding loses of the update.

A file is: length of the header (8 bytes, little endian), JSON header, raw data. The header is known before any value
is, so that files are written from front to back. The format: https://github.com/huggingface/safetensors#format
"""

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engine.errors import MachineError, ModelError
from engine.merging.encoding import BY_DTYPE, ENCODINGS, Encoding
from engine.merging.merged import MergedTensors
from engine.merging.rows import Rows, blocks
from engine.models.local import INDEX
from engine.models.tensors import FolderTensors
from engine.models.weight_headers import TensorInfo

SHARD_BYTES = 5_000_000_000
"""Bytes of a file at most, as transformers and the hub have it; a larger tensor has a file of its own."""
COPY_BYTES = 8 << 20
WORKERS = min(8, os.cpu_count() or 1)
"""Blocks that are computed at the same time; numpy lets other threads run while it computes."""
RESERVE = 64 << 20
"""Bytes that a disk keeps free beside what is written."""
Poll = Callable[[], None]


@dataclass
class Rounding:
    """Loss of the update to rounding: squares of norms over all tensors that were changed, by number format."""

    update: float = 0.0
    lost: float = 0.0
    sampled: float = 0.0
    """Of the update in the blocks on which the other formats are tried."""
    others: dict[str, float] = field(default_factory=dict)
    worst: tuple[str, float] = ("", 0.0)
    """The tensor that loses the largest share, and the share."""

    @property
    def share(self) -> float:
        """‖rounded - exact‖ / ‖update‖ over all changed tensors."""
        return _share(self.lost, self.update)

    def share_of(self, encoding: str) -> float:
        """The same for a format that was not written, from the first block of every tensor."""
        return _share(self.others.get(encoding, 0.0), self.sampled)


@dataclass(frozen=True)
class Written:
    """The files that were written, in their order, with their bytes in all."""

    files: tuple[Path, ...]
    bytes: int
    dtypes: tuple[str, ...]
    """Number formats of the weights, as safetensors calls them."""
    rounding: Rounding

    def facts(self) -> dict[str, Any]:
        """The same for a file of JSON."""
        name, share = self.rounding.worst
        return {
            "files": [path.name for path in self.files],
            "bytes": self.bytes,
            "dtypes": list(self.dtypes),
            "lost": self.rounding.share,
            "worst": {"tensor": name, "lost": share},
            "lost_in": {encoding: self.rounding.share_of(encoding) for encoding in ENCODINGS},
        }


def plan(infos: Mapping[str, TensorInfo], dtype: str, shard_bytes: int) -> list[list[TensorInfo]]:
    """Tensors by file as they are to be written; `dtype` is `source`, for each tensor's own, or of `ENCODINGS`."""
    shards: list[list[TensorInfo]] = [[]]
    size = 0
    for info in infos.values():
        made = TensorInfo(info.name, _written_as(info, dtype), info.shape)
        if shards[-1] and size + _bytes(made) > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(made)
        size += _bytes(made)
    return shards


def size_of(infos: Mapping[str, TensorInfo], dtype: str) -> int:
    """Bytes of the weights as they are to be written."""
    return sum(_bytes(info) for shard in plan(infos, dtype, SHARD_BYTES) for info in shard)


def need_space(folder: Path, size: int) -> None:
    """Raise MachineError where the disk of a folder, or of the nearest above that is there, has no room for `size`."""
    place = next(above for above in (folder, *folder.parents) if above.is_dir())
    free = shutil.disk_usage(place).free
    if free < size + RESERVE:
        raise MachineError(
            f"The disk of {place} has {free / 1e6:,.0f} MB free; the merged model needs {size / 1e6:,.0f} MB.",
            "Free some space, or give --out a folder on a larger disk.",
        )


def write_shards(
    tensors: MergedTensors, folder: Path, dtype: str, poll: Poll, shard_bytes: int = SHARD_BYTES
) -> Written:
    """Write all tensors, and the index where they are in more than one file.

    `poll` is called between blocks, and raises where the work is to stop. Raises ModelError where a value does not fit
    the format, MachineError where the disk has no room, OSError where it cannot be written.
    """
    shards = plan(tensors.infos, dtype, shard_bytes)
    need_space(folder, sum(_bytes(info) for shard in shards for info in shard))
    rounding = Rounding()
    count, files = len(shards), []
    places: dict[str, str] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        for number, shard in enumerate(shards, 1):
            name = "model.safetensors" if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"
            with (folder / name).open("wb") as file:
                file.write(_header(shard))
                for info in shard:
                    _write(tensors, info, file, pool, rounding, poll)
            files.append(folder / name)
            places |= {info.name: name for info in shard}
    total = sum(_bytes(info) for shard in shards for info in shard)
    if count > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    dtypes = sorted({info.dtype for shard in shards for info in shard})
    return Written(tuple(files), total, tuple(dtypes), rounding)


def _written_as(info: TensorInfo, dtype: str) -> str:
    """The header's name of the format that a tensor is written in."""
    if info.dtype not in BY_DTYPE and info.dtype != "F64":
        return info.dtype  # whole numbers: a buffer
    if dtype != "source":
        return ENCODINGS[dtype].dtype
    return "F32" if info.dtype == "F64" else info.dtype


def _bytes(info: TensorInfo) -> int:
    widths = {
        "BF16": 2,
        "F16": 2,
        "F32": 4,
        "F64": 8,
        "I64": 8,
        "U64": 8,
        "I32": 4,
        "U32": 4,
        "I16": 2,
        "U16": 2,
    }
    return info.size * widths.get(info.dtype, 1)


def _header(shard: Sequence[TensorInfo]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for info in shard:
        start, end = end, end + _bytes(info)
        header[info.name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(
    tensors: MergedTensors,
    info: TensorInfo,
    file: BinaryIO,
    pool: ThreadPoolExecutor,
    rounding: Rounding,
    poll: Poll,
) -> None:
    if _copied(tensors, info, file, poll):
        return
    encoding, rows = ENCODINGS[BY_DTYPE[info.dtype]], tensors.rows(info.name)
    before = tensors.before(info.name)
    update = lost = 0.0
    for first, made in enumerate(_in_order(pool, _tasks(rows, before, encoding, info.name))):
        poll()
        file.write(made.octets)
        update, lost = update + made.update, lost + made.lost
        if first == 0:
            rounding.sampled += made.update
            for name, square in made.others.items():
                rounding.others[name] = rounding.others.get(name, 0.0) + square
    rounding.update += update
    rounding.lost += lost
    if update and _share(lost, update) > rounding.worst[1]:
        rounding.worst = (info.name, _share(lost, update))


def _copied(tensors: MergedTensors, info: TensorInfo, file: BinaryIO, poll: Poll) -> bool:
    """Copy a tensor as it lies in the base's file, where nothing changes; False where it has to be computed."""
    if info.name in tensors.changed or not isinstance(tensors.base, FolderTensors):
        return False
    stored, source, start = tensors.base.files.places[info.name]
    if stored.dtype != info.dtype:
        return False
    left = _bytes(stored)
    with source.open("rb") as handle:
        handle.seek(start)
        while left:
            poll()
            part = handle.read(min(left, COPY_BYTES))
            if not part:
                raise ModelError(f"{source} is cut off.", "Copy the base's files again.")
            file.write(part)
            left -= len(part)
    return True


@dataclass(frozen=True)
class _Block:
    """Encoded values of a block, and squares of norms: of the update, of what is lost of it, in other formats."""

    octets: bytes
    update: float = 0.0
    lost: float = 0.0
    others: Mapping[str, float] = field(default_factory=dict)


def _tasks(rows: Rows, before: Rows | None, encoding: Encoding, name: str) -> Iterator[Callable[[], _Block]]:
    for start, stop in blocks(rows):

        def task(start: int = start, stop: int = stop) -> _Block:
            values = rows.read(start, stop)
            made = encoding.encode(values)
            if encoding.dtype == "F16" and not np.isfinite(made).all():
                raise ModelError(
                    f"{name} has values that fp16 cannot hold (up to {np.abs(values).max():.3g}, the limit is 65504).",
                    "Use --dtype bf16 or fp32.",
                )
            if before is None:
                return _Block(made.tobytes())
            update = _square(values - before.read(start, stop))
            lost = 0.0 if encoding.dtype == "F32" else _square(encoding.decode(made) - values)
            others = {}
            if start == 0:
                for other, alternative in ENCODINGS.items():
                    others[other] = _square(alternative.decode(alternative.encode(values)) - values)
            return _Block(made.tobytes(), update, lost, others)

        yield task


def _in_order(pool: ThreadPoolExecutor, tasks: Iterator[Callable[[], _Block]]) -> Iterator[_Block]:
    """Results in the order of the tasks, a few of which are done at the same time, so that few blocks are in memory."""
    waiting: deque[Future[_Block]] = deque()
    for task in tasks:
        waiting.append(pool.submit(task))
        if len(waiting) > WORKERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _square(values: np.ndarray) -> float:
    return float(np.einsum("i,i->", flat := values.reshape(-1), flat))


def _share(lost: float, update: float) -> float:
    return float(np.sqrt(lost / update)) if update else 0.0
