"""The rows that are there already: which of them others can be made from, and what a new one may not be."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from engine.data.augment.checks import Reason, words
from engine.data.augment.options import Kind
from engine.data.augment.questions import Question, answer_of, is_exchange, last_answer, question_of
from engine.data.formats.registry import fitting
from engine.data.lint.likeness import Likeness
from engine.data.samples import read_row
from engine.data.selection import CHUNK
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Row

HELD_OUT = 0
"""The number of any validation row; training rows are numbered by their line, from 1."""
Asked = tuple[int, Row, Question]


class Pool:
    """Questions of a file of training rows, and those of the validation rows."""

    def __init__(self, train: Path, validation: Path, kind: Kind, tokenizer: Tokenizer, longest: int) -> None:
        """`longest`: tokens of a question, or of an answer that is shown as an example, that a model can be asked."""
        self.train = train
        self.lines: list[int] = []
        """The lines that rows can be made from."""
        self.aside = 0
        self.vocabulary: set[str] = set()
        """The words of the training questions."""
        self._seen: dict[bytes, int] = {}
        self._likeness = Likeness()
        for chunk in _chunks(validation):
            self._know([(HELD_OUT, question) for _, _, question in chunk if question])
        rows = 0
        for chunk in _chunks(train):
            rows += len(chunk)
            asked = [(line, row, question) for line, row, question in chunk if question]
            self._know([(line, question) for line, _, question in asked])
            for _, _, question in asked:
                self.vocabulary.update(words(question.head))
            self.lines += _usable(asked, kind, tokenizer, longest)
        self.aside = rows - len(self.lines)
        self._next = rows + 1

    def rows(self, lines: Collection[int]) -> dict[int, Row]:
        """The rows of some lines."""
        wanted = set(lines)
        return {line: row for line, row in _rows(self.train, wanted) if line in wanted}

    def judge(self, candidates: Sequence[tuple[Collection[int], str]]) -> list[Reason | None]:
        """Reasons against new questions beside all others, those of earlier calls included.

        Each comes with the lines that it was made from, which it may be like: that is judged of its head alone.
        """
        reasons: list[Reason | None] = []
        numbers = range(self._next, self._next + len(candidates))
        self._next = numbers.stop
        for number, (_, text) in zip(numbers, candidates, strict=True):
            other = self._seen.setdefault(_key(text), number)
            reasons.append(None if other == number else "held-out" if other == HELD_OUT else "copy")
        self._likeness.add((number, text) for number, (_, text) in zip(numbers, candidates, strict=True))
        for number, other in zip(*(side.tolist() for side in self._likeness.pairs()), strict=True):
            if number in numbers and other not in candidates[number - numbers.start][0]:
                reasons[number - numbers.start] = "held-out" if other == HELD_OUT else "copy"
        return reasons

    def _know(self, questions: Sequence[tuple[int, Question]]) -> None:
        for line, question in questions:
            self._seen.setdefault(_key(question.whole), line)
        self._likeness.add((line, question.whole) for line, question in questions)


def _usable(asked: Sequence[Asked], kind: Kind, tokenizer: Tokenizer, longest: int) -> Iterator[int]:
    """The lines of the rows that others can be made from."""
    if (
        kind == "pairs"
    ):  # the model is asked the whole prompt, and room for that is looked at where it is asked
        yield from (line for line, row, _ in asked if last_answer(row).strip())
        return
    if kind == "new-rows":
        asked = [one for one in asked if is_exchange(one[1])]
    prompts = [
        [question.head] if kind != "new-rows" else [question.whole, answer_of(row)]
        for _, row, question in asked
    ]
    lengths = iter(tokenizer.encode([text for texts in prompts for text in texts], special=False))
    for (line, _, _), texts in zip(asked, prompts, strict=True):
        if max([len(next(lengths)) for _ in texts]) <= longest:
            yield line


def _chunks(path: Path) -> Iterator[list[tuple[int, Row, Question | None]]]:
    rows = _rows(path)
    while chunk := [(line, row, question_of(row)) for line, row in islice(rows, CHUNK)]:
        yield chunk


def _rows(path: Path, wanted: Collection[int] | None = None) -> Iterator[tuple[int, Row]]:
    """The rows of a file that `rewrite` wrote, by line from 1; none where it wrote no such file."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, start=1):
            if wanted is None or line in wanted:
                columns = json.loads(text)
                row_format = fitting(columns)
                assert row_format is not None, f"{path}:{line}"
                row = read_row(columns, f"{path.name}:{line}", row_format, "all")
                assert row is not None, f"{path}:{line}"
                yield line, row


def _key(text: str) -> bytes:
    return hashlib.blake2b(" ".join(words(text)).encode(), digest_size=12).digest()
