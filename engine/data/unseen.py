"""What a row has that the text of its template lacks, so that nothing of an answer is lost unnoticed."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from engine.data.chat_template import ChatTemplate
from engine.data.thought_blocks import inline_thoughts
from engine.data.types import Conversation, Message

TEXT, REASONING, CALLS = "text of an answer", "reasoning", "calls of tools"
OF_ANSWERS = (TEXT, REASONING, CALLS)
TOOLS, RESULTS, SYSTEM = "tools", "results of tools", "a system message"


def unseen(row: Conversation, turns: Sequence[int], chat: ChatTemplate, text: str) -> tuple[str, ...]:
    """What is missing, in a word each. `text` is all that is trained for the answers at `turns`, one after another."""
    found: dict[str, None] = {}
    place = 0
    for index in turns:
        message = row.messages[index]
        content = message.content.strip()
        at = text.find(content, place)
        if at >= 0 and not message.more:
            place = at + len(content)
            continue
        end = place
        for what, words in _parts(message, content, at >= 0):
            at = _find(text, words, place)
            if at < 0:
                found[what] = None
            end = max(end, at + len(words))
        place = end
    if row.tools and not chat.shows_tools:
        found[TOOLS] = None
    for what, role, shows in ((RESULTS, "tool", chat.shows_results), (SYSTEM, "system", chat.shows_system)):
        if not shows and any(message.role == role for message in row.messages):
            found[what] = None
    return tuple(found)


def _parts(message: Message, content: str, shown: bool) -> Iterator[tuple[str, str]]:
    """What an answer consists of, each piece with its kind; `shown` is whether its content is there as it is."""
    if not shown and (apart := inline_thoughts(content)):
        yield REASONING, apart[0]
        content = apart[1]
    if content:
        yield TEXT, content
    if message.more:
        if thoughts := message.more.get("reasoning_content", "").strip():
            yield REASONING, thoughts
        for call in message.more.get("tool_calls", ()):
            yield CALLS, call["function"]["name"]
            yield from ((CALLS, value) for value in _values(call["function"]["arguments"]))


def _values(value: Any) -> Iterator[str]:
    """The texts and numbers of a call's arguments."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _values(each)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
        yield str(value).strip()


def _find(text: str, words: str, place: int) -> int:
    """Where the words stand, also as they are within JSON, or within JSON that stands within JSON."""
    once = json.dumps(words, ensure_ascii=False)[1:-1]
    twice = json.dumps(once, ensure_ascii=False)[1:-1]
    return next((at for form in (words, once, twice) if (at := text.find(form, place)) >= 0), -1)
