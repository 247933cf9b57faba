"""Selected rows → tokens, a thousand rows at a time; what was wrong or cut is told."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from engine.data.fitting import Fitting
from engine.data.form import RowError
from engine.data.formats import read_row
from engine.data.rows import Keep
from engine.data.selection import Selection
from engine.data.templates import Encoded, Rendered, RowEncoder
from engine.data.types import Conversation, Question, Row
from engine.errors import DataError

MOST_PROBLEMS = 10
"""Rows named in one error."""

Text = tuple[int, Row, Rendered]
"""The number of a row among the selected ones, the row, and a text of it."""


Taker = Callable[[list[tuple[int, Encoded]]], None]
"""Takes a chunk of examples, each with the number of the row that it came from."""
Look = Callable[[list[tuple[int, Row, Encoded]]], None]
"""Sees the rows of a chunk with their numbers and tokens; a row of several examples comes once for each."""


@dataclass
class _Told:
    """What the rows turn out to be, as far as the person should know."""

    worse: int = 0
    """Labelled as bad answers."""
    several: int = 0
    """Rows of several examples, because the template shows earlier turns differently later."""
    examples: int = 0
    unseen: dict[str, int] = field(default_factory=dict)
    """Rows with something that the template does not show."""

    def count(self, row: Row, examples: int, encoder: RowEncoder) -> None:
        if examples > 1:
            self.several += 1
            self.examples += examples
        for what in encoder.unseen(row):
            self.unseen[what] = self.unseen.get(what, 0) + 1

    def notes(self, rows: int) -> list[str]:
        found = []
        if self.worse:
            found.append(
                f"{self.worse} of {rows} rows are labelled false and left out: sft trains good answers"
            )
        if self.several:
            found.append(
                f"{self.several} of {rows} rows are trained in parts, {self.examples} in all: the chat template "
                "shows earlier turns differently once later ones follow"
            )
        found += [
            f"{count} of {rows} rows have {what}, which the chat template does not show: the model will not see it"
            for what, count in self.unseen.items()
        ]
        return found


def tokenise(
    selection: Selection,
    encoder: RowEncoder,
    limit: int,
    overlap: int,
    ask: Keep,
    take: Taker,
    look: Look | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[list[Question], list[str]]:
    """Convert and encode all selected rows, and hand them to `take` by the chunk.

    `overlap` is that of the chunks of long texts, see `engine.data.fitting.chunks`. `look` sees each row as it is
    before anything is cut. Returns questions, made of the rows that `ask` (bool `[count]`) picks, and notes.
    Raises `DataError` naming the first rows that are wrong or have nothing to train.
    """
    fitting = Fitting(limit, overlap, encoder.tokenizer.lead)
    told = _Told()
    problems: list[str] = []
    questions: dict[int, Question] = {}
    for done, chunk, examples in _ahead(_rendered(selection, encoder, problems, told), encoder):
        kept: list[tuple[int, Encoded]] = []
        for (number, row, _), example in zip(chunk, examples, strict=True):
            if not example.spans:
                problems.append(f"{row.where}: nothing to train: it has no tokens of its own")
                continue
            fitted = fitting.apply(example, row.where)
            kept += [(number, part) for part in fitted]
            asked = fitted and ask[number] and number not in questions
            if asked and (question := _question(row, encoder, limit)):
                questions[number] = question
        take(kept)
        if look:
            look([(number, row, example) for (number, row, _), example in zip(chunk, examples, strict=True)])
        progress(done)
    if problems:
        raise _error(problems)
    return list(questions.values()), [*told.notes(selection.count), *fitting.notes(selection.count)]


def _rendered(
    selection: Selection, encoder: RowEncoder, problems: list[str], told: _Told
) -> Iterator[tuple[int, list[Text]]]:
    """Rows done, and their texts, by the chunk; what is wrong goes to `problems`, and then rows are only checked."""
    done = 0
    for form, chunk in selection.chunks():
        texts: list[Text] = []
        for number, (where, columns) in enumerate(chunk, start=done):
            try:
                row = read_row(columns, where, form, encoder.train_on)
                if row is None:
                    told.worse += 1
                    continue
                rendered = encoder.render(row)
            except RowError as error:
                problems.append(f"{where}: {error}")
                continue
            texts += [(number, row, text) for text in rendered]
            told.count(row, len(rendered), encoder)
        done += len(chunk)
        if len(problems) >= MOST_PROBLEMS:
            return
        if not problems:
            yield done, texts


def _ahead(
    chunks: Iterator[tuple[int, list[Text]]], encoder: RowEncoder
) -> Iterator[tuple[int, list[Text], list[Encoded]]]:
    """Encode each chunk while the next one is read and rendered: the encoder works outside Python's lock."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[tuple[int, list[Text], Future[list[Encoded]]]] = deque()
        for done, texts in chunks:
            waiting.append((done, texts, pool.submit(encoder.encode, [text for _, _, text in texts])))
            if len(waiting) > 1:
                before, rows, encoded = waiting.popleft()
                yield before, rows, encoded.result()
        for before, rows, encoded in waiting:
            yield before, rows, encoded.result()


def _question(row: Row, encoder: RowEncoder, limit: int) -> Question | None:
    """The row's last prompt and its answer; None where it has no prompt, or one that fills the limit."""
    if isinstance(row, Conversation):
        at = max((i for i, message in enumerate(row.messages) if message.answers), default=0)
        answer = row.messages[at].content
        if not at or not answer:
            return None
        ids = encoder.tokenizer.prompt_ids(row.messages[:at], row.tools)
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
