"""Answers for prompts with which the template's own text of the answer does not begin.

Some prompts open a block of thoughts that the template never shows, or hold an empty one; some templates show a
system message, or earlier thoughts, only while the answer is still to come. The prompt is then taken as it is, and the
answer's own part is put behind it.
"""

import json
import os.path
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import jinja2

from engine.data.tokenization.thought_blocks import CLOSING, ThoughtBlock, block_at_end, inline_thoughts
from engine.data.types import Message

Render = Callable[[Sequence[Message], bool], str]
"""Messages, with or without a generation prompt, to text."""


def joined(
    messages: Sequence[Message],
    prompt: str,
    render: Render,
    ended: Callable[[str], str],
    thoughts_end: str,
) -> str | None:
    """Text that follows `prompt` for the last message; None if the template does not show it.

    `ended` cuts a text at the end of its answer. `thoughts_end` is what the template writes between thoughts and
    answer.
    """
    answer = messages[-1]
    for before in filter(None, _simpler(messages[:-1])):
        try:
            shorter, through = render(before, True), ended(render([*before, answer], False))
        except jinja2.TemplateError:  # it does not take so few
            continue
        if not _end_alike(prompt, shorter, before[-1].content.strip()):
            continue
        if through.startswith(shorter):
            return through[len(shorter) :]
        block = block_at_end(shorter)
        if block is not None and through.startswith(shorter[: block.at]):
            return _in_block(block, shorter[block.at :], through[block.at :], answer, thoughts_end)
    return None


def _simpler(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The conversation before an answer; without what templates show for a time only; from the last question on."""
    yield messages
    yield (bare := [_bare(message) for message in messages])
    yield bare[max((at for at, message in enumerate(bare) if message.role == "user"), default=0) :]


def _bare(message: Message) -> Message:
    """A turn without thoughts, and without what it says beside its calls."""
    if message.role != "assistant":
        return message
    more = {key: value for key, value in (message.more or {}).items() if key != "reasoning_content"}
    content = "" if message.has("tool_calls") else message.content.rpartition(CLOSING)[2]
    return replace(message, content=content, more=more or None)


def _end_alike(prompt: str, shorter: str, last_words: str) -> bool:
    """Return True if a prompt of fewer messages ends like the whole one, from the last message's words on."""
    written = (last_words, json.dumps(last_words, ensure_ascii=False)[1:-1])
    at = max(map(shorter.rfind, written))
    alike = os.path.commonprefix([prompt[::-1], shorter[::-1]])  # noqa: RUF071 - characters are what is meant
    return len(alike) >= len(shorter) - max(at, 0)


def _in_block(block: ThoughtBlock, opened: str, shown: str, answer: Message, thoughts_end: str) -> str:
    """Text that follows a prompt ending with `opened`, where the template shows the turn as `shown`."""
    thoughts, said = block.split(shown)
    if block.closed:
        return said.removeprefix(opened.rpartition(block.closing)[2])
    if thoughts and thoughts.strip():
        inside = shown.partition(block.opening)[2]
        return inside.lstrip() if opened[-1].isspace() else inside
    own = _thoughts(answer)
    if thoughts is not None and not own:
        return block.closing + said
    if own and said.lstrip().startswith(own):  # the content has them, without the tag that opens them
        return said.lstrip()
    closing = thoughts_end if block.closing in thoughts_end else _closing(block, opened)
    return own + closing + (said.lstrip() if closing[-1].isspace() else said)


def _closing(block: ThoughtBlock, opened: str) -> str:
    """A closing tag as most families write it: on a line of its own where the opening one has one."""
    return f"\n{block.closing}\n\n" if opened.endswith("\n") else block.closing


def _thoughts(answer: Message) -> str:
    """The thoughts that a row has, in a field or in the content."""
    inline = inline_thoughts(answer.content)
    return str((answer.more or {}).get("reasoning_content", "") or (inline[0] if inline else "")).strip()
