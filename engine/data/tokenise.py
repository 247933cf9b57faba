"""Selected rows → flat arrays of tokens, a thousand rows at a time; what was wrong or cut is told."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.data.formats import RowError, convert
from engine.data.rows import Keep
from engine.data.selection import Selection
from engine.data.templates import Encoded, Rendered, RowEncoder
from engine.data.types import Conversation, Examples, Int32, Question, Row
from engine.errors import DataError

MOST_PROBLEMS = 10
"""Rows named in one error."""
LOST_SHARE = 0.01
"""Share of rows that may lose everything trained to truncation (and are left out) before a run is refused."""


@dataclass(frozen=True)
class Tokenised:
    """Examples with the number of the row that each came from (int64 `[count]`), questions, and notes."""

    examples: Examples
    rows: npt.NDArray[np.int64]
    questions: tuple[Question, ...]
    notes: tuple[str, ...]


@dataclass
class _Truncation:
    """What `max_seq_length` did to the rows."""

    limit: int
    cut: int = 0
    tokens_lost: int = 0
    emptied: list[str] = field(default_factory=list)
    needed: int = 0
    longest: int = 0

    def apply(self, row: Encoded, where: str) -> Encoded | None:
        """The row, cut on the right to the limit; None where nothing trained is left of it."""
        self.longest = max(self.longest, len(row.ids))
        if len(row.ids) <= self.limit:
            return row
        spans = tuple((start, min(end, self.limit)) for start, end in row.spans if start < self.limit)
        short = Encoded(row.ids[: self.limit], spans)
        self.cut += 1
        self.tokens_lost += row.trained - short.trained
        if spans:
            return short
        self.emptied.append(where)
        self.needed = max(self.needed, row.spans[0][0] + 1)
        return None

    def notes(self, rows: int) -> list[str]:
        """What the person should know. Raises `DataError` where too many rows lost all that was trained."""
        if len(self.emptied) > LOST_SHARE * rows:
            raise DataError(
                f"{len(self.emptied)} of {rows} rows have nothing left to train once they are cut to "
                f"model.max_seq_length {self.limit}, the first at {self.emptied[0]}",
                f"Set model.max_seq_length to {self.needed} or more ({self.longest} keeps every row whole), "
                "or shorten the rows.",
            )
        if not self.cut:
            return []
        note = (
            f"{self.cut} of {rows} rows are longer than model.max_seq_length {self.limit} and were cut: "
            f"{self.tokens_lost} trained tokens are lost ({self.longest} would keep every row whole)"
        )
        if not self.emptied:
            return [note]
        return [
            note,
            f"{len(self.emptied)} of them had nothing left to train and are left out: {self.emptied[0]}…",
        ]


class _Arrays:
    """Flat arrays that grow by chunks."""

    def __init__(self) -> None:
        self._tokens: list[Int32] = [np.empty(0, dtype=np.int32)]
        self._trained: list[npt.NDArray[np.bool_]] = [np.empty(0, dtype=np.bool_)]
        self._lengths: list[npt.NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
        self._rows: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]

    def add(self, chunk: list[tuple[int, Encoded]]) -> None:
        """Append the examples of (row number, encoded row)."""
        ids: list[int] = []
        spans = []
        for _, row in chunk:
            spans += [(start + len(ids), end + len(ids)) for start, end in row.spans]
            ids += row.ids
        trained = np.zeros(len(ids), dtype=np.bool_)
        for start, end in spans:
            trained[start:end] = True
        self._tokens.append(np.array(ids, dtype=np.int32))
        self._trained.append(trained)
        self._lengths.append(np.array([len(row.ids) for _, row in chunk], dtype=np.int64))
        self._rows.append(np.array([number for number, _ in chunk], dtype=np.int64))

    def examples(self) -> tuple[Examples, npt.NDArray[np.int64]]:
        """All of it, and the row numbers."""
        offsets = np.cumsum(np.concatenate(self._lengths))
        examples = Examples(np.concatenate(self._tokens), np.concatenate(self._trained), offsets)
        return examples, np.concatenate(self._rows)


def tokenise(
    selection: Selection,
    encoder: RowEncoder,
    limit: int,
    ask: Keep,
    progress: Callable[[int], None] = lambda _: None,
) -> Tokenised:
    """Convert and encode all selected rows; the rows that `ask` (bool `[count]`) picks also become questions.

    Raises `DataError` naming the first rows that are wrong or have nothing to train.
    """
    arrays = _Arrays()
    truncation = _Truncation(limit)
    problems: list[str] = []
    questions: list[Question] = []
    done = 0
    for rows, examples in _ahead(_rendered(selection, encoder, problems), encoder):
        kept = []
        for number, (row, example) in enumerate(zip(rows, examples, strict=True), start=done):
            if not example.spans:
                problems.append(f"{row.where}: nothing to train: it has no tokens of its own")
            elif (short := truncation.apply(example, row.where)) is not None:
                kept.append((number, short))
                if ask[number] and (question := _question(row, encoder, limit)):
                    questions.append(question)
        arrays.add(kept)
        done += len(rows)
        progress(done)
    if problems:
        raise _error(problems)
    notes = truncation.notes(selection.count)
    return Tokenised(*arrays.examples(), tuple(questions), tuple(notes))


def _rendered(
    selection: Selection, encoder: RowEncoder, problems: list[str]
) -> Iterator[tuple[list[Row], list[Rendered]]]:
    """Rows and their texts by the chunk; what is wrong goes to `problems`, and then rows are only checked."""
    for form, chunk in selection.chunks():
        rows, wrong = convert(chunk, form, encoder.train_on)
        problems += wrong
        texts = []
        for row in rows:
            try:
                texts.append(encoder.render(row))
            except RowError as error:
                problems.append(f"{row.where}: {error}")
        if len(problems) >= MOST_PROBLEMS:
            return
        if not problems:
            yield rows, texts


def _ahead(
    chunks: Iterator[tuple[list[Row], list[Rendered]]], encoder: RowEncoder
) -> Iterator[tuple[list[Row], list[Encoded]]]:
    """Encode each chunk while the next one is read and rendered: the encoder works outside Python's lock."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[tuple[list[Row], Future[list[Encoded]]]] = deque()
        for rows, texts in chunks:
            waiting.append((rows, pool.submit(encoder.encode, texts)))
            if len(waiting) > 1:
                before, encoded = waiting.popleft()
                yield before, encoded.result()
        for before, encoded in waiting:
            yield before, encoded.result()


def _question(row: Row, encoder: RowEncoder, limit: int) -> Question | None:
    """The row's last prompt and its answer; None where it has no prompt, or one that fills the limit."""
    if isinstance(row, Conversation):
        at = max((i for i, message in enumerate(row.messages) if message.role == "assistant"), default=0)
        if not at:
            return None
        ids, answer = encoder.tokenizer.prompt_ids(row.messages[:at]), row.messages[at].content
    else:
        if not row.prompt:
            return None
        ids, answer = encoder.tokenizer.encode([row.prompt])[0], row.completion
    return Question(tuple(ids), answer, row.where) if len(ids) < limit else None


def _error(problems: list[str]) -> DataError:
    shown = problems[:MOST_PROBLEMS]
    if len(problems) == 1:
        return DataError(shown[0], "Mend this row or take it out.")
    lead = (
        f"{len(problems)} rows cannot be used"
        if len(problems) < MOST_PROBLEMS
        else "many rows cannot be used"
    )
    return DataError("\n  ".join([f"{lead}:", *shown]), "Mend these rows or take them out.")
