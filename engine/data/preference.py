"""Rows that compare answers: chosen and rejected in the shapes found in the wild, and labelled ones (KTO)."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.data.form import Form, RowError, kind, text_of
from engine.data.rows import Columns
from engine.data.turns import message_of, messages_of, system_of, tools_of
from engine.data.types import Conversation, Message, Preference, Rated, Row, Text

PROMPTS = ("prompt", "messages", "conversations", "instruction")
"""Columns that hold what both answers answer; without any, each answer is a whole conversation."""
OPENS_A_LIST = re.compile(r"\s*\[\s*\{")


def answered(columns: Columns, where: str, prompt: str = "prompt", answer: str = "completion") -> Row:
    """What the columns `prompt` and `answer` say, both text or messages. Raises `RowError`.

    Two texts stay text, without a chat template, unless the row has a column `system`.
    """
    given, reply = _turns_in(columns[prompt]), _turns_in(columns[answer])
    if isinstance(given, str) and isinstance(reply, str):
        said, back = text_of(given, prompt), text_of(reply, answer)
        if "system" not in columns:
            return Text(said, back, where)
        turns: tuple[Message, ...] = (Message("user", said), Message("assistant", back))
    elif isinstance(given, list) and isinstance(reply, list):
        turns = (*_context(messages_of(given, prompt)), *messages_of(reply, answer))
    elif isinstance(given, list | str) and isinstance(reply, list | str):
        raise RowError(f"`{prompt}` and `{answer}` are both text, or both lists of messages")
    else:
        name, wrong = (prompt, given) if not isinstance(given, list | str) else (answer, reply)
        raise RowError(f"`{name}` is {kind(wrong)} where text or a list of messages is expected")
    return Conversation((*system_of(columns), *turns), where, tools_of(columns))


def _context(turns: Sequence[Message]) -> list[Message]:
    """The turns of a prompt: what the assistant says in them is not the answer that is trained."""
    return [replace(turn, trained=False) if turn.role == "assistant" else turn for turn in turns]


def _preference(columns: Columns, where: str) -> Preference:
    made = columns | {name: _listed_turns(columns[name]) for name in ("chosen", "rejected")}
    source = next((name for name in PROMPTS if columns.get(name) is not None), None)
    if source is None or _opens(made["chosen"]):
        return _whole(made, where)
    if source == "instruction":
        parts = [text_of(columns.get(name) or "", name) for name in ("instruction", "input")]
        made[source] = [{"role": "user", "content": "\n\n".join(filter(None, parts))}]
        answers = {name: text_of(made[name], name) for name in ("chosen", "rejected")}
        made |= {name: [{"role": "assistant", "content": text}] for name, text in answers.items()}
    elif isinstance(made["chosen"], list) and isinstance(_turns_in(made[source]), str):
        made[source] = [{"role": "user", "content": made[source]}]
    return Preference(answered(made, where, source, "chosen"), answered(made, where, source, "rejected"))


def _turns_in(value: Any) -> Any:
    """Messages that stand as JSON in a text, as in CSV. Any other text is text, though it may begin with a bracket."""
    if not isinstance(value, str) or not OPENS_A_LIST.match(value):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if all(isinstance(turn, dict) and {"role", "from"} & set(turn) for turn in found) else value


def _opens(answer: Any) -> bool:
    """Whether an answer is a whole conversation: it repeats the prompt that may also stand beside it."""
    return (
        isinstance(answer, list) and bool(answer) and message_of(answer[0], "chosen[0]").role != "assistant"
    )


def _listed_turns(answer: Any) -> Any:
    """One message is a list of one."""
    answer = _turns_in(answer)
    return [answer] if isinstance(answer, dict) else answer


def _whole(columns: Columns, where: str) -> Preference:
    """Two whole conversations, or two whole texts, that begin alike: what they share is the prompt."""
    sides = [columns[name] for name in ("chosen", "rejected")]
    if all(isinstance(side, str) for side in sides):
        return _whole_texts(sides[0], sides[1], where)
    chosen, rejected = (
        messages_of(side, name) for side, name in zip(sides, ("chosen", "rejected"), strict=True)
    )
    alike = next((at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    shared = min(len(chosen), len(rejected)) if alike is None else alike
    if not shared:
        raise RowError("`chosen` and `rejected` do not begin alike, and there is no `prompt`")
    if shared == len(chosen):
        raise RowError("`chosen` has nothing that `rejected` does not have")
    head, tools = (*system_of(columns), *_context(chosen[:shared])), tools_of(columns)
    both = [Conversation((*head, *side[shared:]), where, tools) for side in (chosen, rejected)]
    return Preference(both[0], both[1])


def _whole_texts(chosen: str, rejected: str, where: str) -> Preference:
    """Dialogues in one text, as `Human: … Assistant: …`: what they share, up to the last turn, is the prompt."""
    shared = next((at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    end = chosen.rfind("Assistant:", 0, shared) + len("Assistant:")
    if end < len("Assistant:"):
        raise RowError("`chosen` and `rejected` are texts that share no prompt, and there is no `prompt`")
    prompt = text_of(chosen[:end], "chosen")
    return Preference(
        Text(prompt, text_of(chosen[end:], "chosen"), where),
        Text(prompt, text_of(rejected[end:], "rejected"), where),
    )


WORDS = {"true": True, "false": False}


def _label(value: Any) -> bool | None:
    if isinstance(value, str):
        return WORDS.get(value.strip().lower())
    return bool(value) if value in (0, 1) and isinstance(value, bool | int) else None


def _rated(columns: Columns, where: str) -> Rated:
    good = _label(columns["label"])
    if good is None:
        raise RowError(f"`label` is {kind(columns['label'])}; it is true (a good answer) or false")
    return Rated(answered(columns, where), good)


def _says_true_or_false(columns: Columns) -> bool:
    label = columns["label"]
    return isinstance(label, bool) or (isinstance(label, str) and label.strip().lower() in WORDS)


PREFERENCE = Form(
    "preference",
    ("chosen", "rejected"),
    _preference,
    note="the chosen answers are trained",
)
KTO = Form(
    "kto",
    ("prompt", "completion", "label"),
    _rated,
    is_told=_says_true_or_false,
    note="rows labelled true are trained",
)
