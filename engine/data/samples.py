"""Answers that a training method takes from the samples of a file: which of them, and on which side each counts.

Supervised fine-tuning trains good answers alone. A method that compares takes both answers of a pair, and one that
learns from labels takes good and bad answers alike.
"""

from dataclasses import dataclass

from engine.data.formats.base import NOTHING, RowError, RowFormat
from engine.data.formats.registry import read_sample
from engine.data.readers.table import Columns
from engine.data.types import LabelledAnswer, Preference, Row, Sample, Text
from engine.methods import Samples

GOOD, BAD, PLAIN = 1, -1, 0
"""Signs of answers: chosen or labelled good, rejected or labelled bad, and neither."""
OTHER_KIND = "with no answers of the kind that the method takes"


@dataclass(frozen=True, slots=True)
class SignedRow:
    """A row that is encoded, and the side on which its answer counts."""

    row: Row
    sign: int = PLAIN


Answers = tuple[SignedRow, ...]
"""Rows that are encoded together and stay together: one, or the chosen and the rejected answer of a pair."""


def answers_of(sample: Sample, samples: Samples, train_on: str) -> tuple[Answers, ...]:
    """Select what a method takes of a sample; empty if that is nothing, as of a bad answer in supervised training.

    Raises `RowError` for a sample of another kind than the method takes, and for one with nothing to train.
    """
    if samples == "pairs":
        return (_pair(sample, train_on),)
    if samples == "labelled":
        return _labelled(sample, train_on)
    row = supervised_row(sample, train_on)
    return () if row is None else ((SignedRow(row),),)


def supervised_row(sample: Sample, train_on: str) -> Row | None:
    """The row that supervised fine-tuning trains of a sample; None for one that is labelled as a bad answer.

    Raises `RowError` for one with nothing to train.
    """
    if isinstance(sample, Preference):
        sample = sample.chosen
    row = sample.row if isinstance(sample, LabelledAnswer) else sample
    check_answer(row, train_on)
    return None if isinstance(sample, LabelledAnswer) and not sample.good else row


def read_row(columns: Columns, where: str, row_format: RowFormat, train_on: str) -> Row | None:
    """Read the row that supervised fine-tuning trains; None for one that is labelled as a bad answer.

    Raises `RowError` for a row of another format, one that cannot be read, and one with nothing to train.
    """
    return supervised_row(read_sample(columns, where, row_format), train_on)


def _pair(sample: Sample, train_on: str) -> Answers:
    if not isinstance(sample, Preference):
        labelled = isinstance(sample, LabelledAnswer)
        raise RowError(
            "has one answer, where the method compares a chosen and a rejected one",
            OTHER_KIND,
            fix=f"Use training.method: {'kto, which learns from labels' if labelled else 'sft, which learns answers'}",
        )
    for name, row in (("chosen", sample.chosen), ("rejected", sample.rejected)):
        try:
            check_answer(row, train_on)
        except RowError as error:
            raise RowError(f"`{name}`: {error}", error.reason) from error
    if sample.chosen == sample.rejected:
        raise RowError("nothing to compare: `chosen` and `rejected` are the same", NOTHING)
    return SignedRow(sample.chosen, GOOD), SignedRow(sample.rejected, BAD)


def _labelled(sample: Sample, train_on: str) -> tuple[Answers, ...]:
    """A labelled answer, or both answers of a pair, each on its own."""
    if isinstance(sample, Preference):
        return tuple((answer,) for answer in _pair(sample, train_on))
    if not isinstance(sample, LabelledAnswer):
        raise RowError(
            "has no label, where the method learns from good and bad answers",
            OTHER_KIND,
            fix="Use training.method: sft, which learns answers",
        )
    check_answer(sample.row, train_on)
    return ((SignedRow(sample.row, GOOD if sample.good else BAD),),)


def check_answer(row: Row, train_on: str) -> None:
    """Raise `RowError` for a row with nothing to train: its loss would be wasted, or NaN if it is alone in a batch."""
    if isinstance(row, Text):
        if not row.completion.strip():
            raise RowError("nothing to train: the text is empty", NOTHING)
        return
    if not row.messages:
        raise RowError("nothing to train: there are no messages", NOTHING)
    if train_on == "all":
        if not any(message.content.strip() or message.has("tool_calls") for message in row.messages):
            raise RowError("nothing to train: every message is empty", NOTHING)
        return
    answers = [message for message in row.messages if message.role == "assistant"]
    if not answers:
        raise RowError("nothing to train: there is no assistant turn", NOTHING)
    if train_on == "last":
        answers = answers[-1:]
    if any(message.answers for message in answers):
        return
    if any(message.content.strip() or message.has("tool_calls") for message in answers):
        raise RowError(
            "nothing to train: every answer is marked as not to be trained (as `weight: 0` is)", NOTHING
        )
    raise RowError("nothing to train: the assistant's answer is empty", NOTHING)
