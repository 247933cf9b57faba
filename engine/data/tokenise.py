"""Selected rows → tokens, a thousand rows at a time; what was wrong or cut is told."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from engine.data.formats import RowError, convert
from engine.data.rows import Keep
from engine.data.selection import Selection
from engine.data.templates import Encoded, Rendered, RowEncoder
from engine.data.types import Conversation, Question, Row
from engine.errors import DataError

MOST_PROBLEMS = 10
"""Rows named in one error."""
LOST_SHARE = 0.01
"""Share of rows that may lose everything trained to truncation (and are left out) before a run is refused."""


Taker = Callable[[list[tuple[int, Encoded]]], None]
"""Takes a chunk of examples, each with the number of the row that it came from."""


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


def tokenise(
    selection: Selection,
    encoder: RowEncoder,
    limit: int,
    ask: Keep,
    take: Taker,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[list[Question], list[str]]:
    """Convert and encode all selected rows, and hand them to `take` by the chunk.

    Returns questions, made of the rows that `ask` (bool `[count]`) picks, and notes.
    Raises `DataError` naming the first rows that are wrong or have nothing to train.
    """
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
        take(kept)
        done += len(rows)
        progress(done)
    if problems:
        raise _error(problems)
    return questions, truncation.notes(selection.count)


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
