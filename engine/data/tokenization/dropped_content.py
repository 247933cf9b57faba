"""Content of a row that its rendered text lacks, so that nothing of an answer is lost unnoticed."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.tokenization.thought_blocks import inline_thoughts
from engine.data.types import Conversation, Message

TEXT, REASONING, CALLS = "text of an answer", "reasoning", "calls of tools"
OF_ANSWERS = (TEXT, REASONING, CALLS)
TOOLS, RESULTS, SYSTEM = "tools", "results of tools", "a system message"


def unseen(row: Conversation, turns: Sequence[int], chat: ChatTemplate, text: str) -> tuple[str, ...]:
    """Name what is missing, in a word each. `text` is all that is trained for the answers at `turns`, in order."""
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
        for what, words, times in _parts(message, content, at >= 0):
            at = _find(text, words, place, times)
            if at < 0:
                found[what] = None
            if times == 1:  # a later one may be that of another answer
                end = max(end, at + len(words))
        place = end
    if row.tools and not chat.shows_tools:
        found[TOOLS] = None
    for what, role, shows in ((RESULTS, "tool", chat.shows_results), (SYSTEM, "system", chat.shows_system)):
        if not shows and any(message.role == role for message in row.messages):
            found[what] = None
    return tuple(found)


def _parts(message: Message, content: str, shown: bool) -> Iterator[tuple[str, str, int]]:
    """Pieces of an answer, each with its kind and the number of times it has to be there; `shown` is True if its
    content is there as it is. Thoughts that the text repeats have to stand beside it too."""
    if not shown and (apart := inline_thoughts(content)):
        thoughts, content = apart
        yield REASONING, thoughts, _times(thoughts, content)
    if content:
        yield TEXT, content, 1
    if message.more:
        if thoughts := message.more.get("reasoning_content", "").strip():
            yield REASONING, thoughts, _times(thoughts, content)
        for call in message.more.get("tool_calls", ()):
            yield CALLS, call["function"]["name"], 1
            yield from ((CALLS, value, 1) for value in _values(call["function"]["arguments"]))


def _times(thoughts: str, content: str) -> int:
    return content.count(thoughts) + 1 if thoughts else 1


def _values(value: Any) -> Iterator[str]:
    """The texts and numbers of a call's arguments."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _values(each)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
        yield str(value).strip()


def _find(text: str, words: str, place: int, times: int) -> int:
    """Find the words as many times as needed, also as they are written in JSON, or in JSON inside JSON;
    -1 where they do not."""
    once = json.dumps(words, ensure_ascii=False)[1:-1]
    twice = json.dumps(once, ensure_ascii=False)[1:-1]
    return next((at for each in (words, once, twice) if (at := _find_one(text, each, place, times)) >= 0), -1)


def _find_one(text: str, words: str, place: int, times: int) -> int:
    at = text.find(words, place)
    for _ in range(times - 1):
        at = text.find(words, at + len(words)) if at >= 0 else -1
    return at
