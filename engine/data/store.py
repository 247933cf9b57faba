"""Examples in flat arrays that grow by chunks: in memory for a sample, in files for a run.

Files are mapped, not loaded: the system keeps as much of a dataset in memory as it can spare.
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
from engine.data.tokenization.truncation import Group
from engine.data.types import Examples, Int8, Int32

Numbers = npt.NDArray[np.int64]
TOKENS, TRAINED, OFFSETS = "tokens.int32", "trained.bool", "offsets.int64"
GROUP, SIGN = "group.int32", "sign.int8"


class Store:
    """Collects examples chunk by chunk; `folder` is where they are written, None keeps them in memory.

    Each example belongs to a group (see `Examples`). With `signed`, groups may have several examples, and the groups
    and signs are kept; without, each example is a group, and nothing more is stored.

    Raises OSError with the folder's name where writing fails.
    """

    def __init__(self, folder: Path | None = None, *, signed: bool = False) -> None:
        self._folder, self._signed = folder, signed
        self._tokens: IO[bytes] = io.BytesIO()
        self._trained: IO[bytes] = io.BytesIO()
        if folder is not None:
            folder.mkdir(parents=True)
            self._tokens, self._trained = (folder / TOKENS).open("wb"), (folder / TRAINED).open("wb")
        self._lengths: list[Numbers] = [np.zeros(1, dtype=np.int64)]
        self._hashes: list[Numbers] = [np.empty(0, dtype=np.int64)]
        self._rows: list[Numbers] = [np.empty(0, dtype=np.int64)]
        self._sizes: list[Numbers] = [np.empty(0, dtype=np.int64)]
        self._signs: list[Int8] = [np.empty(0, dtype=np.int8)]
        self._digests = [hashlib.sha256() for _ in range(5 if signed else 3)]

    def add(self, groups: Sequence[tuple[int, Group]]) -> None:
        """Append groups of examples, each with the number of its row."""
        if not groups:
            return
        encoded = [example for _, group in groups for example in group]
        tokens, trained, lengths = _flat(encoded)
        ends = np.cumsum(lengths)
        ids = (tokens[end - length : end] for end, length in zip(ends, lengths, strict=True))
        hashes = np.array([hash(each.tobytes()) for each in ids], dtype=np.int64)
        sizes = np.array([len(group) for _, group in groups], dtype=np.int64)
        rows = np.repeat(np.array([number for number, _ in groups], dtype=np.int64), sizes)
        self._append(tokens, trained, lengths, hashes, rows)
        if self._signed:
            self._append_groups(sizes, np.array([each.sign for each in encoded], dtype=np.int8))

    def append_from(self, other: "Store", picked: Numbers) -> None:
        """Append groups of another store, one in a folder, by their numbers in it, int64 `[n]`, ascending.

        Closes the other store. It is read slice by slice: mapped, its pages would count as this process's.
        """
        offsets, hashes, rows, firsts = (
            other.close().offsets,
            other.content_hashes,
            other.row_ids,
            other._firsts,
        )
        signs = np.concatenate(other._signs)
        for start in range(0, len(firsts) - 1, CHUNK):
            end = min(start + CHUNK, len(firsts) - 1)
            groups = picked[np.searchsorted(picked, start) : np.searchsorted(picked, end)]
            sizes = firsts[groups + 1] - firsts[groups]
            examples = _ranges(firsts[groups], sizes)
            lengths = offsets[examples + 1] - offsets[examples]
            first, last = int(offsets[firsts[start]]), int(offsets[firsts[end]])
            places = _ranges(offsets[examples] - first, lengths)
            tokens = other._read_slice(TOKENS, np.int32, first, last)
            trained = other._read_slice(TRAINED, np.bool_, first, last)
            self._append(tokens[places], trained[places], lengths, hashes[examples], rows[examples])
            if self._signed:
                self._append_groups(sizes, signs[examples])

    def _read_slice(self, name: str, kind: Any, start: int, end: int) -> Any:
        """Values `start` to `end` of one of its files."""
        assert self._folder is not None
        size = np.dtype(kind).itemsize
        return np.fromfile(self._folder / name, dtype=kind, count=end - start, offset=start * size)

    def _append(
        self,
        tokens: Int32,
        trained: npt.NDArray[np.bool_],
        lengths: Numbers,
        hashes: Numbers,
        rows: Numbers,
    ) -> None:
        self._hashes.append(hashes)
        self._rows.append(rows)
        self._lengths.append(lengths)
        self._digest(0, tokens, trained, lengths)
        try:
            self._tokens.write(tokens.data)
            self._trained.write(trained.data)
        except OSError as error:
            raise _named(error, self._folder) from error

    def _append_groups(self, sizes: Numbers, signs: Int8) -> None:
        self._sizes.append(sizes)
        self._signs.append(signs)
        self._digest(3, sizes, signs)

    def _digest(self, first: int, *arrays: npt.NDArray[Any]) -> None:
        for digest, array in zip(self._digests[first:], arrays, strict=False):
            digest.update(array.data)

    def __len__(self) -> int:
        return sum(map(len, self._hashes))

    @property
    def content_hashes(self) -> Numbers:
        """Hash of each example's ids, int64 `[count]`, to find equal ones by; valid within this process."""
        return np.concatenate(self._hashes)

    @property
    def row_ids(self) -> Numbers:
        """Number of the row that each example is of, int64 `[count]`, ascending."""
        return np.concatenate(self._rows)

    @property
    def group_rows(self) -> Numbers:
        """Number of the row that each group is of, int64 `[groups]`, ascending."""
        return self.row_ids[self._firsts[:-1]]

    @property
    def group_hashes(self) -> Numbers:
        """Hash of what each group holds, whatever the order, int64 `[groups]`; see `content_hashes`."""
        if not self._signed or not len(self):
            return self.content_hashes
        return np.add.reduceat(self.content_hashes, self._firsts[:-1])

    @property
    def _firsts(self) -> Numbers:
        """Number of each group's first example, and of all examples, int64 `[groups + 1]`."""
        if not self._signed:
            return np.arange(len(self) + 1, dtype=np.int64)
        return np.concatenate([[0], np.cumsum(np.concatenate(self._sizes))]).astype(np.int64)

    @property
    def digest(self) -> str:
        """sha256 over the examples so far, whatever the chunks that they came in."""
        return hashlib.sha256(b"".join(digest.digest() for digest in self._digests)).hexdigest()

    def close(self) -> Examples:
        """Finish the files, if any, and return all examples."""
        offsets = np.cumsum(np.concatenate(self._lengths))
        group = sign = None
        if self._signed:
            sizes = np.concatenate(self._sizes)
            group = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
            sign = np.concatenate(self._signs)
        if self._folder is None:
            assert isinstance(self._tokens, io.BytesIO)
            assert isinstance(self._trained, io.BytesIO)
            tokens = np.frombuffer(self._tokens.getbuffer(), dtype=np.int32)
            trained = np.frombuffer(self._trained.getbuffer(), dtype=np.bool_)
            return Examples(tokens, trained, offsets, group, sign)
        try:
            (self._folder / OFFSETS).write_bytes(offsets.tobytes())
            if group is not None and sign is not None:
                (self._folder / GROUP).write_bytes(group.tobytes())
                (self._folder / SIGN).write_bytes(sign.tobytes())
            self._tokens.close()
            self._trained.close()
        except OSError as error:
            raise _named(error, self._folder) from error
        return read(self._folder, signed=self._signed)


def read(folder: Path, *, signed: bool = False) -> Examples:
    """Map what a store has written. Raises OSError and ValueError where it is not there whole."""
    offsets = np.fromfile(folder / OFFSETS, dtype=np.int64)
    total = int(offsets[-1]) if len(offsets) else -1
    tokens, trained = _mapped(folder / TOKENS, np.int32, total), _mapped(folder / TRAINED, np.bool_, total)
    if not signed:
        return Examples(tokens, trained, offsets)
    group, sign = np.fromfile(folder / GROUP, dtype=np.int32), np.fromfile(folder / SIGN, dtype=np.int8)
    if not len(group) == len(sign) == len(offsets) - 1:
        raise ValueError(f"{folder}: not whole")
    return Examples(tokens, trained, offsets, group, sign)


def _mapped(file: Path, kind: Any, total: int) -> Any:
    if file.stat().st_size != total * np.dtype(kind).itemsize:
        raise ValueError(f"{file}: not whole")
    return np.memmap(file, dtype=kind, mode="r") if total else np.empty(0, dtype=kind)


def _flat(rows: Sequence[Encoded]) -> tuple[Int32, npt.NDArray[np.bool_], Numbers]:
    """Ids `[total]`, which are trained `[total]`, and the length of each example `[count]`."""
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    for row in rows:
        spans += [(start + len(ids), end + len(ids)) for start, end in row.spans]
        ids += row.ids
    trained = np.zeros(len(ids), dtype=np.bool_)
    for start, end in spans:
        trained[start:end] = True
    return np.array(ids, dtype=np.int32), trained, np.array([len(row.ids) for row in rows], dtype=np.int64)


def _ranges(starts: Numbers, sizes: Numbers) -> Numbers:
    """The numbers from each start on, as many as its size, one range after the other, int64 `[sum of sizes]`."""
    return np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())


def _named(error: OSError, folder: Path | None) -> OSError:
    """Copy of an error with the folder's name, which the system leaves out where a write fails."""
    return OSError(error.errno, error.strerror, str(folder))
