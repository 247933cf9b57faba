"""The forms that rows have, and a row of one of them → what is trained of it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from engine import plugins
from engine.data.form import COLUMNS, NOTHING, Form, RowError, listed, text_of
from engine.data.preference import KTO, PREFERENCE, answered
from engine.data.rows import Columns
from engine.data.turns import messages_of, system_of, tools_of
from engine.data.types import Conversation, Message, Preference, Rated, Row, Text
from engine.errors import MachineError

MARK = "augmented"
"""The column that marks a row which a model made."""


def read_row(columns: Columns, where: str, form: Form, train_on: str) -> Row | None:
    """What supervised fine-tuning trains of a row; None for one that is labelled as a bad answer.

    Raises `RowError` for a row of another form, one that cannot be read, and one with nothing to train.
    """
    if not form.has_columns(columns):
        raise RowError(_wrong_columns(columns, form), COLUMNS)
    sample = form.read(columns, where)
    row = sample
    if isinstance(sample, Preference):
        row = sample.chosen
    elif isinstance(sample, Rated):
        row = sample.row
    _has_answer(row, train_on)  # type: ignore[arg-type]
    if isinstance(mark := columns.get(MARK), dict) and "kind" in mark:
        row = replace(row, augmented=mark)  # type: ignore[arg-type]
    return None if isinstance(sample, Rated) and not sample.good else row  # type: ignore[return-value]


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
    if not any(message.trained for message in answers):
        raise RowError("nothing to train: `weight` is 0 for every assistant turn that would be", NOTHING)
    if not any(message.answers for message in answers):
        raise RowError("nothing to train: the assistant's answer is empty", NOTHING)


def _alpaca(columns: Columns, where: str) -> Conversation:
    """instruction + input → user, output → assistant; `system` and `history` (earlier pairs) where there."""
    instruction = text_of(columns["instruction"], "instruction")
    extra = text_of(columns.get("input") or "", "input")
    messages = system_of(columns)
    history = columns.get("history") or []
    if not isinstance(history, list):
        raise RowError("`history` is a list of [question, answer] pairs")
    for pair in history:
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError("`history` is a list of [question, answer] pairs")
        messages.append(Message("user", text_of(pair[0], "history")))
        messages.append(Message("assistant", text_of(pair[1], "history")))
    messages.append(
        Message("user", f"{instruction}\n\n{extra}" if instruction and extra else instruction or extra)
    )
    messages.append(Message("assistant", text_of(columns["output"], "output")))
    return Conversation(tuple(messages), where, tools_of(columns))


def _sharegpt(columns: Columns, where: str) -> Conversation:
    turns = messages_of(columns["conversations"], "conversations")
    return Conversation((*system_of(columns), *turns), where, tools_of(columns))


def _chat(columns: Columns, where: str) -> Conversation:
    return Conversation(messages_of(columns["messages"], "messages"), where, tools_of(columns))


def _completion(columns: Columns, where: str) -> Text:
    return Text("", text_of(columns["text"], "text"), where)


def _prompt_completion(columns: Columns, where: str) -> Row:
    return answered(columns, where)


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        form.name: form
        for form in (
            PREFERENCE,
            Form("chat", ("messages",), _chat),
            Form("sharegpt", ("conversations",), _sharegpt),
            Form("alpaca", ("instruction", "output"), _alpaca),
            KTO,
            Form("prompt_completion", ("prompt", "completion"), _prompt_completion),
            Form("completion", ("text",), _completion),
        )
    }
)
"""ft's forms, the most telling columns first: a row with `messages` and a rendered `text` is chat."""


@cache
def form_named(name: str) -> Form:
    """The form that a recipe names: ft's, or another package's. Raises MachineError where that does not load."""
    if name in FORMS:
        return FORMS[name]
    found = plugins.load(plugins.FORMATS, name)
    if not isinstance(found, Form):
        raise MachineError(
            f"data.format: {name} names {type(found).__name__}, which is no engine.data.form.Form",
            "Its package is for another version of ft; use data.format: auto.",
        )
    return found


def fitting(columns: Columns) -> Form | None:
    """The form of a row by its columns: ft's first, then those of other packages. Raises MachineError."""
    own = next((form for form in FORMS.values() if form.fits(columns)), None)
    if own is not None or not plugins.installed(plugins.FORMATS):
        return own
    others = map(form_named, plugins.installed(plugins.FORMATS))
    return next((form for form in others if form.needs and form.fits(columns)), None)


def _wrong_columns(columns: Columns, form: Form) -> str:
    actual = next((other for other in FORMS.values() if other.fits(columns)), None)
    also = f" (this row is {actual.name})" if actual else ""
    return f"columns {listed(columns)}, but {form.name} needs {listed(form.needs)}{also}"
