"""Examples as three flat arrays that grow by chunks: in memory for a look, in files for a run.

In files they are mapped, not loaded: what a run holds of a dataset is what the system can spare.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from engine.data.selection import CHUNK
from engine.data.tokenization.row_encoder import Encoded
from engine.data.types import Examples, Int32

Numbers = npt.NDArray[np.int64]
TOKENS, TRAINED, OFFSETS = "tokens.int32", "trained.bool", "offsets.int64"


class Store:
    """Takes examples chunk by chunk; `folder` is where they are written, None keeps them in memory.

    Raises OSError with the folder's name where the disk says no.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._tokens: IO[bytes] = io.BytesIO()
        self._trained: IO[bytes] = io.BytesIO()
        if folder is not None:
            folder.mkdir(parents=True)
            self._tokens, self._trained = (folder / TOKENS).open("wb"), (folder / TRAINED).open("wb")
        self._lengths: list[Numbers] = [np.zeros(1, dtype=np.int64)]
        self._contents: list[Numbers] = [np.empty(0, dtype=np.int64)]
        self._rows: list[Numbers] = [np.empty(0, dtype=np.int64)]
        self._digests = [hashlib.sha256() for _ in range(3)]

    def add(self, examples: Sequence[tuple[int, Encoded]]) -> None:
        """Append examples, each with the number of its row."""
        if not examples:
            return
        tokens, trained, lengths = _flat([encoded for _, encoded in examples])
        ends = np.cumsum(lengths)
        ids = (tokens[end - length : end] for end, length in zip(ends, lengths, strict=True))
        contents = np.array([hash(each.tobytes()) for each in ids], dtype=np.int64)
        rows = np.array([number for number, _ in examples], dtype=np.int64)
        self._append(tokens, trained, lengths, contents, rows)

    def append_from(self, other: "Store", picked: Numbers) -> None:
        """Append examples of another store, one in a folder, by their numbers in it, int64 `[n]`, ascending.

        That one is closed by it. It is read piece by piece: mapped, its pages would count as this process's.
        """
        offsets, contents, rows = other.close().offsets, other.content_hashes, other.row_ids
        for start in range(0, len(other), CHUNK):
            end = min(start + CHUNK, len(other))
            part = picked[np.searchsorted(picked, start) : np.searchsorted(picked, end)]
            lengths = offsets[part + 1] - offsets[part]
            shifts = offsets[part] - offsets[start] - (np.cumsum(lengths) - lengths)
            places = np.repeat(shifts, lengths) + np.arange(lengths.sum())
            span = int(offsets[start]), int(offsets[end])
            tokens, trained = (
                other.read_slice(TOKENS, np.int32, *span),
                other.read_slice(TRAINED, np.bool_, *span),
            )
            self._append(tokens[places], trained[places], lengths, contents[part], rows[part])

    def read_slice(self, name: str, kind: Any, start: int, end: int) -> Any:
        """Values of one of its files."""
        assert self._folder is not None
        size = np.dtype(kind).itemsize
        return np.fromfile(self._folder / name, dtype=kind, count=end - start, offset=start * size)

    def _append(
        self,
        tokens: Int32,
        trained: npt.NDArray[np.bool_],
        lengths: Numbers,
        contents: Numbers,
        rows: Numbers,
    ) -> None:
        self._contents.append(contents)
        self._rows.append(rows)
        self._lengths.append(lengths)
        for digest, part in zip(self._digests, (tokens.data, trained.data, lengths.data), strict=True):
            digest.update(part)
        try:
            self._tokens.write(tokens.data)
            self._trained.write(trained.data)
        except OSError as error:
            raise _named(error, self._folder) from error

    def __len__(self) -> int:
        return sum(map(len, self._contents))

    @property
    def content_hashes(self) -> Numbers:
        """A hash of each example's ids, int64 `[count]`, to find equal ones by; good within this process."""
        return np.concatenate(self._contents)

    @property
    def row_ids(self) -> Numbers:
        """The row that each example is of, int64 `[count]`."""
        return np.concatenate(self._rows)

    @property
    def digest(self) -> str:
        """sha256 over the examples so far, whatever the chunks that they came in."""
        return hashlib.sha256(b"".join(digest.digest() for digest in self._digests)).hexdigest()

    def close(self) -> Examples:
        """All of them."""
        offsets = np.cumsum(np.concatenate(self._lengths))
        if self._folder is None:
            assert isinstance(self._tokens, io.BytesIO)
            assert isinstance(self._trained, io.BytesIO)
            return Examples(
                np.frombuffer(self._tokens.getbuffer(), dtype=np.int32),
                np.frombuffer(self._trained.getbuffer(), dtype=np.bool_),
                offsets,
            )
        try:
            (self._folder / OFFSETS).write_bytes(offsets.tobytes())
            self._tokens.close()
            self._trained.close()
        except OSError as error:
            raise _named(error, self._folder) from error
        return read(self._folder)


def read(folder: Path) -> Examples:
    """What a store has written, mapped. Raises OSError and ValueError where it is not there whole."""
    offsets = np.fromfile(folder / OFFSETS, dtype=np.int64)
    total = int(offsets[-1]) if len(offsets) else -1
    return Examples(
        _mapped(folder / TOKENS, np.int32, total), _mapped(folder / TRAINED, np.bool_, total), offsets
    )


def _mapped(file: Path, kind: Any, total: int) -> Any:
    if file.stat().st_size != total * np.dtype(kind).itemsize:
        raise ValueError(f"{file}: not whole")
    return np.memmap(file, dtype=kind, mode="r") if total else np.empty(0, dtype=kind)


def _flat(rows: Sequence[Encoded]) -> tuple[Int32, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Ids `[total]`, which are trained `[total]`, and the length of each row `[count]`."""
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    for row in rows:
        spans += [(start + len(ids), end + len(ids)) for start, end in row.spans]
        ids += row.ids
    trained = np.zeros(len(ids), dtype=np.bool_)
    for start, end in spans:
        trained[start:end] = True
    return np.array(ids, dtype=np.int32), trained, np.array([len(row.ids) for row in rows], dtype=np.int64)


def _named(error: OSError, folder: Path | None) -> OSError:
    """The system leaves out the file's name where a write fails."""
    return OSError(error.errno, error.strerror, str(folder))
