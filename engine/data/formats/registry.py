"""The forms that rows have, and a row of one of them → what is trained of it."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from engine import plugins
from engine.data.formats import extra_columns, gemini
from engine.data.formats.base import COLUMNS, NOTHING, RowError, RowFormat, listed, text_of
from engine.data.formats.labels import KTO
from engine.data.formats.messages import conversation, messages_of
from engine.data.formats.preference import PREFERENCE
from engine.data.formats.prompt_completion import alpaca, answered
from engine.data.jsonl import MARK
from engine.data.readers.table import Columns
from engine.data.types import LabelledAnswer, Preference, Row, Sample, Text
from engine.errors import MachineError


def read_row(columns: Columns, where: str, form: RowFormat, train_on: str) -> Row | None:
    """What supervised fine-tuning trains of a row; None for one that is labelled as a bad answer.

    Raises `RowError` for a row of another form, one that cannot be read, and one with nothing to train.
    """
    if not form.has_columns(columns):
        raise RowError(_wrong_columns(columns, form), COLUMNS)
    sample = extra_columns.read(columns, where, form)
    row = sample
    if isinstance(sample, Preference):
        row = sample.chosen
    elif isinstance(sample, LabelledAnswer):
        row = sample.row
    _has_answer(row, train_on)  # type: ignore[arg-type]
    if isinstance(mark := columns.get(MARK), dict) and "kind" in mark:
        row = replace(row, augmented=mark)  # type: ignore[arg-type]
    return None if isinstance(sample, LabelledAnswer) and not sample.good else row  # type: ignore[return-value]


def _has_answer(row: Row, train_on: str) -> None:
    """A row that has nothing to train would silently be a wasted one (or NaN, alone in a batch)."""
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


def _sharegpt(columns: Columns, where: str) -> Sample:
    return conversation(columns, messages_of(columns["conversations"], "conversations"), where)


def _chat(columns: Columns, where: str) -> Sample:
    if "messages" not in columns:
        return gemini.conversation_of(columns, where)
    return conversation(columns, messages_of(columns["messages"], "messages"), where)


def _completion(columns: Columns, where: str) -> Sample:
    return Text("", text_of(columns["text"], "text"), where)


_BESIDE = frozenset(("system", "tools", "functions"))
FORMS: Mapping[str, RowFormat] = MappingProxyType(
    {
        form.name: form
        for form in (
            PREFERENCE,
            KTO,
            RowFormat("chat", ("messages",), _chat, others=(("contents",),), uses=_BESIDE | gemini.SYSTEM),
            RowFormat("sharegpt", ("conversations",), _sharegpt, uses=_BESIDE),
            RowFormat("alpaca", ("instruction", "output"), alpaca, uses=_BESIDE | {"input", "history"}),
            RowFormat("prompt_completion", ("prompt", "completion"), answered, uses=_BESIDE),
            RowFormat("completion", ("text",), _completion, uses=frozenset()),
        )
    }
)
"""ft's formats, the most telling columns first: a row with `messages` and a rendered `text` is chat."""


@cache
def form_named(name: str) -> RowFormat:
    """The form that a recipe names: ft's, or another package's. Raises MachineError where that does not load."""
    if name in FORMS:
        return FORMS[name]
    found = plugins.load(plugins.FORMATS, name)
    if not isinstance(found, RowFormat):
        raise MachineError(
            f"data.format: {name} names {type(found).__name__}, which is not an engine.data.formats.base.RowFormat",
            "Its package is for another version of ft; use data.format: auto.",
        )
    return found


def fitting(columns: Columns, without: Collection[str] = ()) -> RowFormat | None:
    """The format of a row by its columns: ft's first, then those of other packages. Raises MachineError.

    `without` are formats that other rows of the source speak against.
    """
    own = next((form for form in FORMS.values() if form.name not in without and form.fits(columns)), None)
    if own is not None or not plugins.installed(plugins.FORMATS):
        return own
    others = map(form_named, plugins.installed(plugins.FORMATS))
    return next((form for form in others if form.needs and form.fits(columns)), None)


def _wrong_columns(columns: Columns, form: RowFormat) -> str:
    actual = next((other for other in FORMS.values() if other.fits(columns)), None)
    also = f" (this row is {actual.name})" if actual else ""
    missing = {names: len(set(names) - columns.keys()) for names in (form.needs, *form.others)}
    nearest = [names for names, count in missing.items() if count == min(missing.values())]
    sets = " or ".join(map(listed, nearest))
    return f"columns {listed(columns)}, but {form.name} needs {sets}{also}"
