"""The answers of a long conversation, found in windows of a few turns: each turn is rendered a few times, however many
there are.

Most templates write a turn in the same way wherever it stands. Then the text of a window, from the end of an answer on
that the window before has found, continues in the whole conversation's text exactly where that answer ends. Every
character is held against the whole text; where a template writes a turn otherwise, nothing is found.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.data.tokenization.chat_template import ChatTemplate, Span
from engine.data.types import Conversation

WINDOW = 8
"""Answers of a window."""
LONGEST = 64
"""Messages of a window: turns of an agent may call tools many times before somebody speaks again."""


class Answers(NamedTuple):
    """A text up to the end of an answer, what is trained of it in order, and the text with what the template writes
    behind that end."""

    text: str
    spans: tuple[Span, ...]
    whole: str


Find = Callable[[Conversation, Sequence[int]], list[Answers]]
"""Finds the answers at some places of a conversation, one by one."""


def in_windows(row: Conversation, turns: Sequence[int], chat: ChatTemplate, find: Find) -> Answers | None:
    """All answers in one text; None where the template does not write every turn as it writes it in a window.

    Raises as `find` does.
    """
    whole = chat.render(row.messages, tools=row.tools)
    answers = [index for index, message in enumerate(row.messages) if message.role == "assistant"]
    chosen, spans, text, begin = set(turns), list[Span](), "", 0
    for first in range(0, len(answers), WINDOW):
        part = answers[max(first - 1, 0) : first + WINDOW]
        found = _found(row, part, bool(first), find)
        if found is None:
            return None
        known = found.spans[0][1] if first else 0
        """Place from which the window adds to what is known."""
        last = part[-1] == answers[-1]
        held = found.spans[-1][0] if last else len(found.text)  # what ends the last answer may be ours
        if not whole.startswith(found.text[known:held], len(text)):
            return None
        move = len(text) - known
        fresh = list(zip(part, found.spans, strict=True))[bool(first) :]
        spans += [(start + move, end + move) for index, (start, end) in fresh if index in chosen]
        text, begin = text + found.text[known:], found.spans[-1][0] + move
    if chat.render(row.messages[: answers[-1]], True, row.tools) != text[:begin]:
        return None
    text = text if answers[-1] in chosen else text[: spans[-1][1]]
    return Answers(text, tuple(spans), whole if whole.startswith(text) else text)


def _found(row: Conversation, part: Sequence[int], later: bool, find: Find) -> Answers | None:
    """The answers of a window in one text, each with one span; None where they are not. `later`: not the first."""
    head, start = 0, 0
    if later:
        asked = (index for index in range(part[0], -1, -1) if row.messages[index].role == "user")
        start = next(asked, 0)
        while row.messages[head].role == "system":
            head += 1
    if part[-1] - start >= LONGEST:
        return None
    messages = (*row.messages[:head], *row.messages[start : part[-1] + 1])
    found = find(Conversation(messages, row.where, row.tools), [index - start + head for index in part])
    return found[0] if len(found) == 1 and len(found[0].spans) == len(part) else None
