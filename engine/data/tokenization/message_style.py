"""Style in which a chat template takes messages: templates differ in it without saying so, so it is found by trials."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.data.types import REASONING, Message

Tools = Sequence[Mapping[str, Any]]

TOOL_NAME, QUESTION, ANSWER, VALUE, RESULT, THOUGHT = (
    "a_tool",
    "Question",
    "Answered",
    "a_value",
    "Returned",
    "Pondered",
)
"""Words of the trial messages, which stand in no template."""
TRIAL_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": "Does something.",
        "parameters": {"type": "object", "properties": {"of": {"type": "string", "description": "What."}}},
    },
}
ASKED = Message("user", QUESTION)
ANSWERED = Message("assistant", ANSWER)
THOUGHT_ABOUT = Message("assistant", ANSWER, more={"reasoning_content": THOUGHT})
CALL_ID = "a1b2c3d4e"
"""Nine letters and digits, as Mistral's templates want them."""
RETURNED = Message("tool", RESULT, more={"name": TOOL_NAME, "tool_call_id": CALL_ID})


def calling(*values: str) -> Message:
    """A turn that calls the trial tool once with each of the values."""
    calls = [
        {"id": CALL_ID, "type": "function", "function": {"name": TOOL_NAME, "arguments": {"of": value}}}
        for value in values
    ]
    return Message("assistant", "", more={"tool_calls": calls})


@dataclass(frozen=True)
class MessageStyle:
    """Object that a template gets for a `Message`."""

    reasoning: tuple[str, ...] = ()
    """The keys under which it looks for thoughts."""
    arguments_as_text: bool = False
    """A call's arguments are put in as the JSON that they are; most templates want the object."""
    calls_without_content: bool = False
    """Calls are shown only where the content is null."""
    parts: bool = False
    """Content is a list of parts, [{"type": "text", "text": …}]; text alone would not be shown."""

    def given(self, message: Message) -> dict[str, Any]:
        """The message as the template takes it."""
        content: Any = message.content
        if self.parts:
            content = [{"type": "text", "text": content}]
        if not message.more:
            return {"role": message.role, "content": content}
        turn = {"role": message.role, "content": content, **message.more}
        thoughts = turn.pop("reasoning_content", None)
        if thoughts is not None:
            turn |= dict.fromkeys(self.reasoning, thoughts)
        if "tool_calls" in turn:
            if self.calls_without_content and not message.content:
                turn["content"] = None
            if self.arguments_as_text:
                turn["tool_calls"] = [_with_text(call) for call in turn["tool_calls"]]
        return turn


REFUSED, TAKEN, SHOWN = range(3)
"""Renders messages in a style."""
Render = Callable[[MessageStyle, Sequence[Message], Tools], str]
"""Renders messages in a style; raises anything where the template does not take them."""


def style_of(source: str, render: Render) -> MessageStyle:
    """The first style in which a template shows a question and a call, else the first that it does not refuse."""
    reasoning = tuple(name for name in REASONING if re.search(rf"[.'\"]{name}\b", source))
    plain, listed = (_tried(render, MessageStyle(parts=parts), [ASKED], QUESTION) for parts in (False, True))
    parts = listed == SHOWN and plain != SHOWN
    if "tool_calls" not in source:
        return MessageStyle(reasoning, parts=parts)
    styles = [
        MessageStyle(reasoning, as_text, without_content, parts)
        for without_content in (False, True)
        for as_text in (False, True)
    ]
    return max(styles, key=lambda style: _tried(render, style, [ASKED, calling(VALUE)], VALUE))


def _tried(render: Render, style: MessageStyle, messages: Sequence[Message], words: str) -> int:
    """Return True if a template shows the words, or at least takes the messages. It may require tools."""
    found = REFUSED
    for tools in ((), (TRIAL_TOOL,)):
        try:
            text = render(style, messages, tools)
        except Exception:
            continue
        found = max(found, SHOWN if words in text else TAKEN)
    return found


def _with_text(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call["function"]
    given = function["arguments"]
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}
