"""Rows as the model will see them, for people who look through a file: any row at once, token by token.

What is shown is made by the encoder that training uses; the values are in `engine/data/views.py`.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from engine.config.schema import Format
from engine.data.formats import LOOKED_AT, Detected, RowError, convert, detect
from engine.data.pieces import pieces
from engine.data.row_index import Rows, open_rows
from engine.data.row_joined import JoinedRows
from engine.data.row_search import find_row
from engine.data.rows import Origin
from engine.data.sources import Found, find, spelled
from engine.data.templates import Encoded, RowEncoder, TrainOn
from engine.data.text_rows import SampleBy
from engine.data.tokenizer import Tokenizer
from engine.data.views import SHOWN, Lengths, Opened, RowView, View
from engine.errors import DataError
from engine.models.resolve import on_disk

OPEN = 4
"""Sources, and tokenizers, that are held."""
SAMPLED = 1000
"""Rows whose lengths are looked at."""
CHUNK = 50
"""Rows that are encoded between two looks at whether somebody has cancelled."""
BRIEF = 160
"""Characters of a row's first words."""

Stopped = Callable[[], bool]
How = Literal["tokens", "brief", "raw"]
Each = tuple[int, Encoded | None, str]
"""A row's number from 0, its tokens, and what is wrong with it; one of the last two is none."""


class Previews:
    """Sources and tokenizers kept open between one look and the next. Any thread may call."""

    def __init__(self) -> None:
        self._sources: OrderedDict[tuple[object, ...], tuple[Rows, Detected | DataError]] = OrderedDict()
        self._encoders: OrderedDict[tuple[object, ...], RowEncoder] = OrderedDict()
        self._lock = RLock()

    def open(self, source: str, format_: Format = "auto") -> Opened:
        """Open a source, or tell how far counting its rows is. Raises `DataError` where it cannot be opened.

        A source is what a recipe says of one: a path, an address, or a mapping, which is written as JSON.
        """
        rows, detected, found = self._open(source, format_)
        unknown = detected if isinstance(detected, DataError) else None
        return Opened(
            name=rows.name,
            path=str(found.files[0].path),
            kind=", ".join(dict.fromkeys(file.kind.removeprefix(".") for file in found.files)),
            size=sum(file.path.stat().st_size for file in found.files),
            form="" if isinstance(detected, DataError) else detected.form.name,
            evidence=unknown.message if unknown else detected.evidence,  # type: ignore[union-attr]
            hint=unknown.hint if unknown else "",
            known=rows.known,
            counting=rows.counting,
            broken=rows.error.message if rows.error else "",
        )

    def show(self, source: str, numbers: Sequence[int], view: View, how: How = "tokens") -> list[RowView]:
        """Rows by their number from 0; those that are not there are left out.

        `how` is all tokens, their counts with a first line (`brief`), or the row as it stands in the file (`raw`),
        which needs no model. Raises `DataError` where the source cannot be
        opened, `ModelError` and `ConfigError` where the model's tokenizer cannot be had.
        """
        rows, detected, _ = self._open(source, view.format)
        there = [number for number in numbers if 0 <= number < rows.known]
        if how == "raw":
            return [_raw(rows, number) for number in there]
        encoder = self._encoder(view)
        return [
            self._view(rows, each, encoder, view.max_seq_length, how == "brief")
            for each in self._encoded(rows, there, detected, encoder)
        ]

    def lengths(self, source: str, view: View, stopped: Stopped, most: int = SAMPLED) -> Lengths:
        """Lengths of at most `most` rows, drawn evenly from those that are known now. Raises as `show` does."""
        rows, detected, _ = self._open(source, view.format)
        encoder = self._encoder(view)
        known = rows.known
        chosen = sorted(random.Random(0).sample(range(known), min(most, known)))
        found: list[int] = []
        problems: list[tuple[int, str]] = []
        tokens = trained = cut = lost = 0
        for start in range(0, len(chosen), CHUNK):
            if stopped():
                break
            for number, encoded, problem in self._encoded(
                rows, chosen[start : start + CHUNK], detected, encoder
            ):
                if encoded is None:
                    problems.append((number, problem))
                    continue
                found.append(len(encoded.ids))
                left = _left(encoded, view.max_seq_length)
                tokens += min(len(encoded.ids), view.max_seq_length)
                trained += left
                lost += encoded.trained - left
                cut += len(encoded.ids) > view.max_seq_length
                if not left:
                    problems.append((number, _nothing_left(view.max_seq_length)))
        return Lengths(len(chosen), known, tuple(found), tokens, trained, cut, lost, tuple(problems))

    def find(self, source: str, words: str, start: int, view: View, stopped: Stopped) -> int | None:
        """The next row from `start` on that holds the words, as `find_row`. Raises `DataError` as `show` does."""
        return find_row(self._open(source, view.format)[0], words, start, stopped)

    def _open(self, source: str, format_: Format) -> tuple[Rows, Detected | DataError, Found]:
        wanted = spelled(source, Path.cwd())
        form = wanted.format if wanted.format != "auto" else format_
        found = find(wanted)
        stamps = [(file.path, file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in found.files]
        key = (found.name, *stamps, form, wanted.sample_by)
        with self._lock:
            if key not in self._sources:
                rows = _rows(found, wanted.sample_by)
                self._sources[key] = rows, _detected(rows, form)
                while len(self._sources) > OPEN:
                    self._sources.popitem(last=False)[1][0].close()
            self._sources.move_to_end(key)
            return (*self._sources[key], found)

    def _encoder(self, view: View) -> RowEncoder:
        folder = on_disk(view.model, view.revision)
        changed = tuple(
            file.stat().st_mtime_ns if file.is_file() else 0
            for file in (folder / "tokenizer.json", folder / "chat_template.jinja", Path(view.chat_template))
        )
        key = (folder, view.chat_template, view.train_on, changed)
        with self._lock:
            if key not in self._encoders:
                self._encoders[key] = RowEncoder(Tokenizer.load(folder, view.chat_template), view.train_on)
                while len(self._encoders) > OPEN:
                    self._encoders.popitem(last=False)
            self._encoders.move_to_end(key)
            return self._encoders[key]

    def _encoded(
        self, rows: Rows, numbers: Sequence[int], detected: Detected | DataError, encoder: RowEncoder
    ) -> list[Each]:
        """Number, tokens and problem of each row, in the order of the numbers."""
        rendered, bad = [], []
        with (
            self._lock
        ):  # a template notes its marks in itself while it renders, and Parquet rows their batch
            for number in numbers:
                where = ""
                try:
                    where, columns = rows.read(number)
                    row = _row((where, columns), detected, encoder.train_on)
                    rendered.append((number, where, encoder.render(row)))
                except DataError as error:
                    bad.append((number, error.message))
                except RowError as error:
                    bad.append((number, f"{where}: {error}"))
            encodings = encoder.encode([text for _, _, text in rendered])
        found: list[Each] = [(number, None, problem) for number, problem in bad]
        for (number, where, _), encoded in zip(rendered, encodings, strict=True):
            empty = "" if encoded.spans else f"{where}: nothing to train: it has no tokens of its own"
            found.append((number, encoded if encoded.spans else None, empty))
        return sorted(found, key=lambda each: each[0])

    def _view(self, rows: Rows, each: Each, encoder: RowEncoder, limit: int, brief: bool) -> RowView:
        number, encoded, problem = each
        shown = _raw(rows, number)
        if encoded is None:
            raw = shown.raw[:BRIEF] if brief else shown.raw
            return RowView(number, shown.where, problem=problem, raw=raw)
        left = _left(encoded, limit)
        return RowView(
            row=number,
            where=shown.where,
            pieces=() if brief else tuple(pieces(encoded, encoder.tokenizer, limit)),
            tokens=len(encoded.ids),
            trained=left,
            limit=limit,
            lost=encoded.trained - left,
            hidden=max(0, len(encoded.ids) - SHOWN),
            problem="" if left else _nothing_left(limit),
            raw=_first_words(rows, number) if brief else "",
        )


def _rows(found: Found, by: SampleBy) -> Rows:
    """The rows of all files of a source."""
    openers = [partial(open_rows, file.path, file.name, file.kind, by) for file in found.files]
    return openers[0]() if len(openers) == 1 else JoinedRows(found.name, openers)


def _detected(rows: Rows, format_: Format) -> Detected | DataError:
    """The form of the first rows that can be read; an error, not raised, where there is none."""
    while rows.counting is not None and rows.known < LOOKED_AT:
        time.sleep(0.005)
    good: list[Origin] = []
    bad: DataError | None = rows.error
    for number in range(min(LOOKED_AT, rows.known)):
        try:
            good.append(rows.read(number))
        except DataError as error:
            bad = bad or error
    if not good:
        return bad or DataError(f"{rows.name}: there are no rows", "Put rows in it, or name another file.")
    try:
        return detect(good, format_, rows.name)
    except DataError as error:
        return error


def _row(origin: Origin, detected: Detected | DataError, train_on: TrainOn) -> Any:
    """A row as the template takes it. Raises `DataError`."""
    if isinstance(detected, DataError):
        raise detected
    good, problems = convert([origin], detected.form, train_on)
    if problems:
        raise DataError(problems[0])
    return good[0]


def _raw(rows: Rows, number: int) -> RowView:
    try:
        where = rows.read(number)[0]
    except DataError as error:
        where = error.message.partition(": ")[0]
    text = rows.raw(number)
    return RowView(number, where, raw=text[:SHOWN], hidden=max(0, len(text) - SHOWN))


def _first_words(rows: Rows, number: int) -> str:
    """The first text of a row that somebody would know it by: its question, rather than its system message."""
    columns = rows.read(number)[1]
    for name in ("messages", "conversations", "instruction", "prompt", "text"):
        value = columns.get(name)
        if isinstance(value, str) and value.strip():
            return _flat(value)
        if isinstance(value, list):
            turns = [turn for turn in value if isinstance(turn, dict)]
            asked = [turn for turn in turns if turn.get("role", turn.get("from")) in ("user", "human")]
            for turn in asked or turns:
                return _flat(str(turn.get("content", turn.get("value", ""))))
    return ""


def _flat(text: str) -> str:
    return " ".join(text[: 4 * BRIEF].split())[:BRIEF]


def _left(encoded: Encoded, limit: int) -> int:
    """Trained tokens before the limit."""
    return sum(max(0, min(end, limit) - start) for start, end in encoded.spans)


def _nothing_left(limit: int) -> str:
    return f"nothing trained is left of it once it is cut to max_seq_length {limit}"
