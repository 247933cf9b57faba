"""Previews of sources: any row of a file as the model will see it, token by token.

What is shown is made by the encoder that training uses; the values are in `engine/data/preview/values.py`.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Literal

from engine.data.formats.choice import FormatChoice
from engine.data.formats.detection import SAMPLE_ROWS, Detected, detect
from engine.data.lint.linter import Linter
from engine.data.preview.encoded_rows import EncodedRow, encode_rows
from engine.data.preview.row_view import nothing_left, raw_view, row_view
from engine.data.preview.values import Lengths, Opened, RowView, View
from engine.data.readers.concatenated import JoinedRows
from engine.data.readers.random_access import Rows, open_rows
from engine.data.readers.registry import kind_of
from engine.data.readers.search import find_row
from engine.data.readers.table import Origin
from engine.data.readers.text import SampleBy
from engine.data.sources.resolve import FetchedSources, Found, RecentFetches, Unpack, spelled
from engine.data.sources.unpacking import Unpacking
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.tokenization.token_limits import Limit
from engine.errors import DataError, ModelError
from engine.models.resolve import on_disk

OPEN = 4
"""Sources, and tokenizers, that are kept open."""
SAMPLED = 1000
"""Most rows whose lengths are sampled."""
CHUNK = 50
"""Rows that are encoded between two checks for cancellation."""
WAIT_S = 0.005
"""Seconds between two checks for new rows."""
SHOWN_OTHERWISE = ("untrained", "truncated")
"""Findings that the lengths and the problems of a sample show already."""

Stopped = Callable[[], bool]
How = Literal["tokens", "brief", "raw"]


class Previews:
    """Sources and tokenizers that are kept open between requests. Any thread may call."""

    def __init__(self, unpack: Unpack | None = None, fetched: FetchedSources | None = None) -> None:
        """`unpack` makes plain files of compressed ones; left out, large ones begin with their first rows. `fetched`
        are sources that need not be asked for again."""
        self._recent = RecentFetches(fetched)
        self._unpacking = Unpacking()
        self._unpack = unpack or self._unpacking
        self._sources: OrderedDict[tuple[object, ...], tuple[Rows, Detected | DataError]] = OrderedDict()
        self._encoders: OrderedDict[tuple[object, ...], RowEncoder | ModelError] = OrderedDict()
        self._lock = RLock()

    def open(self, source: str, view: View | None = None, whole: bool = True) -> Opened:
        """Open a source, and report how far counting its rows is. Raises `DataError` where it cannot be opened.

        Where only the first rows of a large compressed file are there, the `whole` is unpacked from now on.

        A source is what a recipe says of one: a path, an address, or a mapping, which is written as JSON.
        """
        rows, detected, found = self._open(source, view or View())
        if whole:
            self._go_on(found)
        unknown = detected if isinstance(detected, DataError) else None
        return Opened(
            name=rows.name,
            path=str(found.files[0].path),
            kind=", ".join(dict.fromkeys((kind_of(file.name) or file.kind)[1:] for file in found.files)),
            size=sum(file.path.stat().st_size for file in found.files),
            format="" if isinstance(detected, DataError) else detected.row_format.name,
            evidence=unknown.message if unknown else detected.evidence,  # type: ignore[union-attr]
            hint=next((error.hint for error in (unknown, rows.error) if error), ""),
            known=rows.known,
            counting=self._counting(rows, found),
            broken=rows.error.message if rows.error else "",
        )

    def wait_for(
        self, source: str, row: int, view: View, counted: Callable[[float], None] = lambda share: None
    ) -> bool:
        """Wait until a row, by its number from 0, can be shown; False where there is none. Raises as `show` does.

        `counted` receives the share of the source that has been read, 0 to 1.
        """
        rows, _, found = self._open(source, view)
        while rows.known <= row and (share := self._counting(rows, found)) is not None:
            if rows.counting is None:
                self._go_on(found)
            counted(share)
            time.sleep(WAIT_S)
            rows, _, found = self._open(source, view)
        return row < rows.known

    def stop(self) -> None:
        """Stop counting rows; those that are known can still be shown."""
        with self._lock:
            for rows, _ in self._sources.values():
                rows.close()

    def show(self, source: str, numbers: Sequence[int], view: View, how: How = "tokens") -> list[RowView]:
        """Rows by their number from 0; those that are not there are left out.

        `how` is all tokens, their counts with a first line (`brief`), or the row as it stands in the file (`raw`),
        which needs no model. Raises `DataError` where the source cannot be
        opened, `ModelError` and `ConfigError` where the model's tokenizer cannot be had.
        """
        rows, detected, _ = self._open(source, view)
        there = [number for number in numbers if 0 <= number < rows.known]
        if how == "raw":
            return [raw_view(rows, number) for number in there]
        encoder = self.encoder(view)
        limit = Limit.of(view.max_seq_length, encoder.room)
        with self._lock:
            encoded = encode_rows(rows, there, detected, encoder, limit, view.chunk_overlap)
        return [row_view(rows, each, encoder.tokenizer, limit, how == "brief") for each in encoded]

    def lengths(self, source: str, view: View, stopped: Stopped, most: int = SAMPLED) -> Lengths:
        """Lengths of at most `most` rows, drawn evenly from those that are known now. Raises as `show` does."""
        rows, _, opened = self._open(source, view)
        encoder = self.encoder(view)
        counted, known = self._counting(rows, opened) is None, rows.known
        chosen = sorted(random.Random(0).sample(range(known), min(most, known)))
        found: list[int] = []
        problems: list[tuple[int, str]] = []
        tokens = trained = cut = lost = 0
        limit = Limit.of(view.max_seq_length, encoder.room)
        most_tokens, linter = limit.tokens, Linter(encoder.tokenizer, limit)
        for chunk in self.encoded(source, chosen, view):
            if stopped():
                break
            linter.add([row for each in chunk for row in each.whole])
            for each in chunk:
                if not each.examples:
                    problems.append((each.number, each.problem))
                    continue
                left = each.trained_within(most_tokens)
                trained += left
                lost += each.trained - left
                for example in each.examples:
                    found.append(len(example.ids))
                    tokens += min(len(example.ids), most_tokens)
                cut += any(len(example.ids) > most_tokens for example in each.examples)
                if not left:
                    problems.append((each.number, nothing_left(limit)))
        findings = tuple(one for one in linter.findings() if one.kind not in SHOWN_OTHERWISE)
        return Lengths(
            len(chosen), known, counted, tuple(found), tokens, trained, cut, lost, tuple(problems), findings
        )

    def encoded(self, source: str, numbers: Sequence[int], view: View) -> Iterator[list[EncodedRow]]:
        """Rows with their tokens or their problem, some at a time. Raises as `show` does."""
        rows, detected, _ = self._open(source, view)
        encoder = self.encoder(view)
        limit = Limit.of(view.max_seq_length, encoder.room)
        for start in range(0, len(numbers), CHUNK):
            chunk = numbers[start : start + CHUNK]
            with (
                self._lock
            ):  # a template notes its marks in itself while it renders, and Parquet rows their batch
                encoded = encode_rows(rows, chunk, detected, encoder, limit, view.chunk_overlap)
            yield encoded

    def find(self, source: str, words: str, start: int, view: View, stopped: Stopped) -> int | None:
        """The next row from `start` on that holds the words, as `find_row`. Raises `DataError` as `show` does."""
        return find_row(self._open(source, view)[0], words, start, stopped)

    def _go_on(self, found: Found) -> None:
        for file in found.files:
            self._unpacking.go_on(file.path)

    def _counting(self, rows: Rows, found: Found) -> float | None:
        """Share of a source that has been read; None once all of its rows are known."""
        shares = [share for file in found.files if (share := self._unpacking.share(file.path)) is not None]
        return min(shares) if shares else rows.counting

    def _open(self, source: str, view: View) -> tuple[Rows, Detected | DataError, Found]:
        wanted = spelled(source, Path.cwd())
        choice = FormatChoice(
            wanted.format if wanted.format != "auto" else view.format,
            wanted.columns or view.columns,
            wanted.template or view.template,
            wanted.roles or view.roles,
        )
        found = self._recent.fetch(wanted).unpacked(self._unpack)
        stamps = [(file.path, file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in found.files]
        key = (found.name, *stamps, repr(choice), wanted.sample_by)
        with self._lock:
            if key not in self._sources:
                rows = _rows(found, wanted.sample_by)
                before = [each.known for each, _ in self._sources.values() if each.name == rows.name]
                self._sources[key] = rows, _detected(rows, choice, max(before, default=0))
                while len(self._sources) > OPEN:
                    self._sources.popitem(last=False)[1][0].close()
            self._sources.move_to_end(key)
            return (*self._sources[key], found)

    def encoder(self, view: View) -> RowEncoder:
        """Encoder of rows. Raises `ModelError` and `ConfigError`."""
        folder = on_disk(view.model, view.revision)
        key = (folder, view.encoding(), view.stamps(folder))
        with self._lock:
            if key not in self._encoders:
                try:
                    self._encoders[key] = view.encoder(folder)
                except ModelError as error:
                    # Remembered too: a chat template may take seconds to show what it is.
                    self._encoders[key] = error
                while len(self._encoders) > OPEN:
                    self._encoders.popitem(last=False)
            self._encoders.move_to_end(key)
            found = self._encoders[key]
        if isinstance(found, ModelError):
            raise ModelError(found.message, found.hint)
        return found


def _rows(found: Found, by: SampleBy) -> Rows:
    """The rows of all files of a source."""
    openers = [partial(open_rows, file.path, file.name, file.kind, by) for file in found.files]
    return openers[0]() if len(openers) == 1 else JoinedRows(found.name, openers)


def _detected(rows: Rows, choice: FormatChoice, known: int = 0) -> Detected | DataError:
    """Format of the first rows that can be read; an error, returned, if there is none.

    `known` is the number of rows that people have seen already, of a beginning: none of them may vanish again.
    """
    while rows.counting is not None and rows.known < max(SAMPLE_ROWS, known):
        time.sleep(WAIT_S)
    good: list[Origin] = []
    bad: DataError | None = rows.error
    for number in range(min(SAMPLE_ROWS, rows.known)):
        try:
            good.append(rows.read(number))
        except DataError as error:
            bad = bad or error
    if not good:
        return bad or DataError(f"{rows.name}: there are no rows", "Put rows in it, or name another file.")
    try:
        return detect(good, choice, rows.name)
    except DataError as error:
        return error
