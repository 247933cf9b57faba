"""Rows that compare two answers: chosen and rejected, in the shapes that files have."""

from typing import Any

from engine.data.formats.alpaca import alpaca
from engine.data.formats.base import RowError, RowFormat, is_null, kind, text_of
from engine.data.formats.column_names import QUESTIONS
from engine.data.formats.messages import conversation, messages_of, role_in
from engine.data.formats.prompt_completion import answered, context, last_answer, listed_turns
from engine.data.readers.table import Columns
from engine.data.types import Preference, Text

PROMPTS = ("prompt", "messages", "conversations", "instruction")
"""Columns that hold the prompt of both answers; without any, each answer is a whole conversation."""
SHAPES = (
    ("chosen", "rejected"),
    ("chosen_messages", "rejected_messages"),
    ("preferred_output", "non_preferred_output", "input"),
)
"""Columns of both answers: those of most files, LLaMA-Factory's, and OpenAI's with the column of the prompt."""


def _preference(columns: Columns, where: str) -> Preference:
    names = next(names for names in SHAPES if columns.keys() >= set(names))
    made = _openai(columns) if names == SHAPES[2] else columns
    both = {ours: listed_turns(made[theirs], theirs) for ours, theirs in zip(SHAPES[0], names, strict=False)}
    made = made | both
    source = next((name for name in PROMPTS if made.get(name) == "" or not is_null(made.get(name))), None)
    if source is None or _opens(made["chosen"]):
        return _whole(made, where)
    if source == "instruction":
        return Preference(*(last_answer(alpaca(made, where, name)) for name in SHAPES[0]))
    return Preference(answered(made, where, source, "chosen"), answered(made, where, source, "rejected"))


def _openai(columns: Columns) -> Columns:
    """Move the prompt and tools out of OpenAI's object `input`."""
    given = columns.get("input")
    if not isinstance(given, dict):
        raise RowError(f"`input` is {kind(given)} where an object with `messages` is expected")
    return columns | {"prompt": given.get("messages"), "tools": given.get("tools")}


def _opens(answer: Any) -> bool:
    """Return True if an answer is a whole conversation, which repeats the prompt."""
    if not isinstance(answer, list) or not answer or not isinstance(answer[0], dict):
        return False
    return role_in(answer[0], "chosen[0]")[1] != "assistant"


def _whole(columns: Columns, where: str) -> Preference:
    """Pair of whole conversations, or whole texts, that begin alike: the shared beginning is the prompt."""
    sides = [columns[name] for name in ("chosen", "rejected")]
    if all(isinstance(side, str) for side in sides):
        return _whole_texts(columns, where)
    chosen, rejected = (
        messages_of(side, name) for side, name in zip(sides, ("chosen", "rejected"), strict=True)
    )
    alike = next((at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    shared = min(len(chosen), len(rejected)) if alike is None else alike
    if not shared:
        raise RowError(
            "`chosen` and `rejected` do not begin alike, and there is no `prompt`", fix=_prompt(columns)
        )
    if shared == len(chosen):
        raise RowError("`chosen` has nothing that `rejected` does not have")
    head = context(chosen[:shared])
    return Preference(
        conversation(columns, (*head, *chosen[shared:]), where),
        conversation(columns, (*head, *rejected[shared:]), where),
    )


def _whole_texts(columns: Columns, where: str) -> Preference:
    """Pair of dialogues in plain text, as `Human: … Assistant: …`: the shared turns are the prompt."""
    chosen, rejected = columns["chosen"], columns["rejected"]
    shared = next((at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    end = chosen.rfind("Assistant:", 0, shared) + len("Assistant:")
    if end < len("Assistant:"):
        raise RowError(
            "`chosen` and `rejected` are texts that share no prompt, and there is no `prompt`",
            fix=_prompt(columns),
        )
    prompt = text_of(chosen[:end], "chosen")
    unused = tuple(
        f"`{name}`, which is not used: both answers are dialogues in plain text"
        for name in ("system", "tools", "functions")
        if not is_null(columns.get(name))
    )
    return Preference(
        Text(prompt, text_of(chosen[end:], "chosen"), where, unused=unused),
        Text(prompt, text_of(rejected[end:], "rejected"), where),
    )


def _prompt(columns: Columns) -> str:
    """Advice on the column that is probably the prompt; empty if there is none."""
    name = next((name for name in columns if name.lower() in QUESTIONS), "")
    return name and f"Say which column is the prompt: --set 'data.columns={{prompt: {name}}}'"


FORMAT = RowFormat(
    "preference",
    SHAPES[0],
    _preference,
    note="sft trains the chosen answers",
    others=SHAPES[1:],
    uses=frozenset({*PROMPTS, "system", "tools", "functions"}),
)
