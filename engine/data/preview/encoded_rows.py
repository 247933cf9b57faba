"""Rows as a run would encode them, each with its tokens or with what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.data.formats.base import RowError
from engine.data.formats.detection import Detected
from engine.data.formats.registry import read_sample
from engine.data.lint.linter import LintedRow
from engine.data.readers.random_access import Rows
from engine.data.tokenization.row_encoder import Encoded, RowEncoder, TextGroup
from engine.data.tokenization.token_limits import Limit, check_ids
from engine.data.tokenization.truncation import split_long
from engine.errors import DataError, ModelError

PIECES = 2
"""Most pieces of a long plain text that are encoded: it may have hundreds."""


@dataclass(frozen=True)
class EncodedRow:
    """Number of a row from 0, and the tokens of its examples, or what is wrong with it."""

    number: int
    examples: tuple[Encoded, ...] = ()
    """As a run would train them, before they are cut; long texts in chunks."""
    problem: str = ""
    unseen: str = ""
    """Content of the row that the template does not show."""
    whole: tuple[LintedRow, ...] = ()
    """The row with its examples before any is split, as the lint sees it."""
    unread: int = 0
    """Characters at the end of a long text that were not tokenised."""
    left_out: bool = False
    """True if nothing is wrong with the row, and the training method takes nothing of it."""

    def trained_within(self, limit: int) -> int:
        """Trained tokens among the first `limit` of each example."""
        return sum(max(0, min(end, limit) - start) for each in self.examples for start, end in each.spans)

    @property
    def trained(self) -> int:
        """Trained tokens."""
        return sum(example.trained for example in self.examples)

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(len(example.ids) for example in self.examples)


@dataclass(frozen=True)
class _Rendered:
    """Texts of a row that are encoded."""

    number: int
    where: str
    groups: tuple[TextGroup, ...]
    unread: int


def encode_rows(
    rows: Rows,
    numbers: Sequence[int],
    detected: Detected | DataError,
    encoder: RowEncoder,
    limit: Limit,
    overlap: int,
) -> list[EncodedRow]:
    """Encode some rows, in the order of their numbers. `overlap` is that of the chunks of long texts."""
    found: list[EncodedRow] = []
    rendered: list[_Rendered] = []
    for number in numbers:
        each = _rendered(rows, number, detected, encoder, limit.tokens)
        rendered += [each] if isinstance(each, _Rendered) else []
        found += [each] if isinstance(each, EncodedRow) else []
    texts = [text for row in rendered for group in row.groups for text in group.texts]
    encodings = iter(encoder.encode(texts))
    for row in rendered:
        groups = [tuple(next(encodings) for _ in group.texts) for group in row.groups]
        found.append(_checked(row, groups, encoder, limit.tokens, overlap))
    return sorted(found, key=lambda each: each.number)


def _rendered(
    rows: Rows, number: int, detected: Detected | DataError, encoder: RowEncoder, limit: int
) -> _Rendered | EncodedRow:
    """The texts of a row, or the row with what is wrong with it."""
    where = ""
    try:
        where, columns = rows.read(number)
        if isinstance(detected, DataError):
            raise detected
        groups = encoder.groups(read_sample(columns, where, detected.row_format), limit)
    except DataError as error:
        return EncodedRow(number, problem=error.message)
    except RowError as error:
        return EncodedRow(number, problem=f"{where}: {error}" + (f". {error.fix}" if error.fix else ""))
    if not groups:
        why = "labelled false: supervised fine-tuning leaves it out"
        return EncodedRow(number, problem=f"{where}: {why}", left_out=True)
    most = PIECES if groups[0].texts[0].plain else len(groups)
    unread = sum(len(text.text) for group in groups[most:] for text in group.texts)
    return _Rendered(number, where, tuple(groups[:most]), unread)


def _checked(
    row: _Rendered, groups: Sequence[tuple[Encoded, ...]], encoder: RowEncoder, limit: int, overlap: int
) -> EncodedRow:
    """The row with its tokens, unless one of them is unknown to the model, or nothing of it is trained."""
    examples = [example for group in groups for example in group]
    try:
        for example in examples:
            check_ids(example.ids, encoder.tokenizer, encoder.room, row.where)
    except ModelError as error:
        return EncodedRow(row.number, problem=error.message)
    if not all(example.spans for example in examples):
        problem = f"{row.where}: nothing to train: it has no tokens of its own"
        return EncodedRow(row.number, problem=problem)
    prefix_ids = encoder.tokenizer.prefix_ids
    chunks = [chunk for each in examples for chunk in split_long(each, limit, overlap, prefix_ids)]
    linted = ((row.number, texts.rows[0], group[0]) for texts, group in zip(row.groups, groups, strict=True))
    unseen = " and ".join(row.groups[0].texts[0].unseen)
    return EncodedRow(row.number, tuple(chunks), "", unseen, tuple(linted), row.unread)
