"""Blocks of thoughts at the end of a generation prompt, as `<think>`: opened there, or closed empty."""

import re
from dataclasses import dataclass, replace

from engine.data.types import Message

OPENING, CLOSING = "<think>", "</think>"
"""Tags with which rows mark thoughts in the content of an answer."""
TAGS = (
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("[THINK]", "[/THINK]"),
)
"""Tags of model families, besides <name> and </name>."""
_OPEN = re.compile(r"<([A-Za-z][\w:.-]*)>\s*$")
_EMPTY = re.compile(r"<([A-Za-z][\w:.-]*)>\s*</\1>\s*$")


@dataclass(frozen=True)
class ThoughtBlock:
    """The block with which a prompt ends: its tags, where it begins, and whether the prompt closes it too."""

    opening: str
    closing: str
    at: int
    closed: bool

    def split(self, text: str) -> tuple[str | None, str]:
        """The thoughts in the block with which a text begins, None where it begins with none, and what comes after.

        Some templates write the closing tag alone.
        """
        if text.lstrip().startswith(self.closing):
            return "", text.partition(self.closing)[2]
        if not text.lstrip().startswith(self.opening):
            return None, text
        thoughts, closing, after = text.partition(self.opening)[2].partition(self.closing)
        return (thoughts, after) if closing else (None, text)


def inline_thoughts(content: str) -> tuple[str, str] | None:
    """Thoughts that stand in front of an answer in its content, and the answer; None where there are none.

    The opening tag may be missing: some files leave it out, as a prompt has it already.
    """
    before, closing, after = content.partition(CLOSING)
    if not closing:
        return None
    return before.replace(OPENING, "", 1).strip(), after.strip()


def with_thoughts_apart(message: Message) -> Message:
    """The message with the thoughts of its content in the field for them."""
    found = inline_thoughts(message.content) if message.role == "assistant" else None
    if found is None or message.has("reasoning_content"):
        return message
    thoughts, content = found
    return replace(message, content=content, more={**(message.more or {}), "reasoning_content": thoughts})


def block_at_end(prompt: str) -> ThoughtBlock | None:
    """The block with which a prompt ends; None where it ends with none."""
    for pattern, closed in ((_EMPTY, True), (_OPEN, False)):
        if found := pattern.search(prompt):
            return ThoughtBlock(f"<{found[1]}>", f"</{found[1]}>", found.start(), closed)
    for opening, closing in TAGS:
        before, found_opening, inside = prompt.rpartition(opening)
        if found_opening and inside.strip() in ("", closing):
            return ThoughtBlock(opening, closing, len(before), closed=closing in inside)
    return None
