"""Rows of a file → conversations or plain text: which form they have, and what is wrong with them."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from engine.config.schema import Format
from engine.data.rows import Columns, Origin
from engine.data.types import Conversation, Message, Role, Row, Text
from engine.errors import DataError

LOOKED_AT = 1000
"""Rows that detection looks at; every later row is still held to the form that was found."""

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
}
"""The names that files use for the four roles."""


class RowError(Exception):
    """What is wrong with one row; the caller knows where the row is."""


@dataclass(frozen=True)
class Form:
    """A form of rows: the columns it needs, and how a row is read."""

    name: str
    needs: tuple[str, ...]
    read: Callable[[Columns, str], Row]

    @property
    def is_chat(self) -> bool:
        """True where rows become conversations, and so need a chat template."""
        return self.name not in ("completion", "prompt_completion")

    def fits(self, columns: Columns) -> bool:
        return all(name in columns for name in self.needs)


@dataclass(frozen=True)
class Detected:
    """The form of a source's rows, and the evidence in words."""

    form: Form
    evidence: str


def detect(rows: Iterable[Origin], format_: Format, name: str) -> Detected:
    """Find the form of the first `LOOKED_AT` rows; a form that the recipe names is taken at its word.

    There is at least one row. Raises `DataError` where rows have different forms, or none that is known.
    """
    if format_ != "auto":
        return Detected(FORMS[format_], f"{name}: {format_}, as the recipe says")
    first: dict[str, str] = {}
    unknown: list[Origin] = []
    for where, columns in islice(rows, LOOKED_AT):
        form = next((form for form in FORMS.values() if form.fits(columns)), None)
        if form is None:
            unknown.append((where, columns))
        else:
            first.setdefault(form.name, where)
    if len(first) > 1:
        places = ", ".join(f"{form} (first at {where})" for form, where in first.items())
        raise DataError(
            f"{name}: rows of different forms: {places}",
            "Split the file by form and list the files under data.train, or name one form in data.format.",
        )
    if unknown:
        raise _unknown_columns(*unknown[0], next(iter(first), None))
    form = FORMS[next(iter(first))]
    return Detected(form, f"{name}: {form.name}, because its rows have {_listed(form.needs)}")


def convert(rows: Sequence[Origin], form: Form, train_on: str) -> tuple[list[Row], list[str]]:
    """Read rows of one form. Returns the rows that are good, and a sentence for each that is not."""
    good: list[Row] = []
    problems: list[str] = []
    for where, columns in rows:
        try:
            if not form.fits(columns):
                raise RowError(_wrong_columns(columns, form))
            row = form.read(columns, where)
            _has_answer(row, train_on)
        except RowError as error:
            problems.append(f"{where}: {error}")
        else:
            good.append(row)
    return good, problems


def _has_answer(row: Row, train_on: str) -> None:
    """A row that has nothing to train would silently be a wasted one (or NaN, alone in a batch)."""
    if isinstance(row, Text):
        if not row.completion.strip():
            raise RowError("nothing to train: the text is empty")
        return
    if not row.messages:
        raise RowError("nothing to train: there are no messages")
    if train_on == "all":
        if not any(message.content.strip() for message in row.messages):
            raise RowError("nothing to train: every message is empty")
        return
    answers = [message.content for message in row.messages if message.role == "assistant"]
    if not answers:
        raise RowError("nothing to train: there is no assistant turn")
    if not any(answer.strip() for answer in (answers[-1:] if train_on == "last" else answers)):
        raise RowError("nothing to train: the assistant's answer is empty")


def _alpaca(columns: Columns, where: str) -> Conversation:
    """instruction + input → user, output → assistant; `system` and `history` (earlier pairs) where there."""
    instruction = _text(columns["instruction"], "instruction")
    extra = _text(columns.get("input") or "", "input")
    messages = _system(columns)
    for pair in columns.get("history") or []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError("`history` is a list of [question, answer] pairs")
        messages.append(Message("user", _text(pair[0], "history")))
        messages.append(Message("assistant", _text(pair[1], "history")))
    messages.append(
        Message("user", f"{instruction}\n\n{extra}" if instruction and extra else instruction or extra)
    )
    messages.append(Message("assistant", _text(columns["output"], "output")))
    return Conversation(tuple(messages), where)


def _sharegpt(columns: Columns, where: str) -> Conversation:
    turns = _messages(columns["conversations"], "conversations")
    return Conversation(tuple(_system(columns)) + turns, where)


def _chat(columns: Columns, where: str) -> Conversation:
    for key in ("tools", "functions"):
        if columns.get(key):
            raise RowError(f"`{key}` cannot be trained on yet")
    return Conversation(_messages(columns["messages"], "messages"), where)


def _completion(columns: Columns, where: str) -> Text:
    return Text("", _text(columns["text"], "text"), where)


def _prompt_completion(columns: Columns, where: str) -> Row:
    prompt, completion = columns["prompt"], columns["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = _messages(prompt, "prompt") + _messages(completion, "completion")
        return Conversation(turns, where)
    if isinstance(prompt, list) or isinstance(completion, list):
        raise RowError("`prompt` and `completion` are both text, or both lists of messages")
    return Text(_text(prompt, "prompt"), _text(completion, "completion"), where)


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("chat", ("messages",), _chat),
        Form("sharegpt", ("conversations",), _sharegpt),
        Form("alpaca", ("instruction", "output"), _alpaca),
        Form("prompt_completion", ("prompt", "completion"), _prompt_completion),
        Form("completion", ("text",), _completion),
    )
}
"""Known forms, the most telling columns first: a row with `messages` and a rendered `text` is chat."""


def _system(columns: Columns) -> list[Message]:
    text = _text(columns.get("system") or "", "system")
    return [Message("system", text)] if text else []


def _messages(value: Any, column: str) -> tuple[Message, ...]:
    if isinstance(value, str) and value.lstrip().startswith("["):  # CSV can hold a list only as JSON
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RowError(f"`{column}` looks like JSON but is not: {error}") from error
    if not isinstance(value, list):
        raise RowError(f"`{column}` is {_kind(value)} where a list of messages is expected")
    return tuple(_message(turn, f"{column}[{index}]") for index, turn in enumerate(value))


def _message(turn: Any, place: str) -> Message:
    """A turn in either spelling: {role, content} or {from, value}."""
    if not isinstance(turn, dict):
        raise RowError(f"`{place}` is {_kind(turn)} where a message is expected")
    who, what = ("from", "value") if "from" in turn else ("role", "content")
    if who not in turn:
        raise RowError(f"`{place}` has neither `role` nor `from`, but {_listed(turn)}")
    role = ROLES.get(turn[who]) if isinstance(turn[who], str) else None
    if role is None:
        raise RowError(f"`{place}.{who}` is {turn[who]!r}; known roles are {', '.join(ROLES)}")
    if turn.get("tool_calls"):
        raise RowError(f"`{place}.tool_calls` cannot be trained on yet")
    if turn.get("weight") == 0:
        raise RowError(f"`{place}.weight` of 0 is not supported; data.train_on says which turns are trained")
    if what not in turn:
        raise RowError(f"`{place}` has no `{what}`, but {_listed(turn)}")
    return Message(role, _content(turn[what], f"{place}.{what}"))


def _content(value: Any, place: str) -> str:
    """Text, or a list of text parts as [{"type": "text", "text": …}]."""
    if not isinstance(value, list):
        return _text(value, place)
    parts = []
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text":
            kind = part.get("type") if isinstance(part, dict) else _kind(part)
            raise RowError(f"`{place}` has a part that is not text: {kind}")
        parts.append(_text(part.get("text"), place))
    return "".join(parts)


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"`{place}` is {_kind(value)} where text is expected")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowError(
            f"`{place}` has half of a surrogate pair (\\u{ord(value[error.start]):04x})"
        ) from error
    return value


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else json.dumps(value, default=lambda other: type(other).__name__)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "no columns"


def _wrong_columns(columns: Columns, form: Form) -> str:
    actual = next((other for other in FORMS.values() if other.fits(columns)), None)
    also = f" (this row is {actual.name})" if actual else ""
    return f"columns {_listed(columns)}, but {form.name} needs {_listed(form.needs)}{also}"


def _unknown_columns(where: str, columns: Columns, others: str | None) -> DataError:
    needs = "; ".join(f"{form.name}: {', '.join(form.needs)}" for form in FORMS.values())
    nearest = _nearest(columns)
    rest = f" (other rows are {others})" if others else ""
    return DataError(
        f"{where}: columns {_listed(columns)} fit no known form{rest}",
        f"{nearest}Each form needs: {needs}. Rename the columns, or make the missing ones.",
    )


def _nearest(columns: Columns) -> str:
    """The form that is the fewest renamings away, where at least one column fits or nearly does."""
    folded = {name.strip().lower().rstrip("s"): name for name in columns}

    def missing(form: Form) -> list[str]:
        return [need for need in form.needs if need.rstrip("s") not in folded]

    form = min(FORMS.values(), key=lambda form: len(missing(form)) / len(form.needs))
    absent = missing(form)
    if len(absent) == len(form.needs):
        return ""
    spelt = [
        f"`{folded[need.rstrip('s')]}` should be `{need}`"
        for need in form.needs
        if need not in columns and need.rstrip("s") in folded
    ]
    lacks = [f"`{need}` is missing" for need in absent]
    return f"Nearest is {form.name}: {', '.join(spelt + lacks)}. "
