"""Shape of a chat template's turns: the text around an answer, found by rendering a question, an answer and more."""

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import jinja2

from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.tokenization.message_style import (  # fmt: skip
    ANSWER,
    ANSWERED,
    ASKED,
    QUESTION,
    RESULT,
    RETURNED,
    THOUGHT,
    THOUGHT_ABOUT,
    TRIAL_TOOL,
    VALUE,
    calling,
)
from engine.data.tokenization.thought_blocks import CLOSING, OPENING, block_at_end
from engine.data.types import Message

NEXT, SYSTEM = "Another", "Told"
INLINE = Message("assistant", f"{OPENING}\n{THOUGHT}\n{CLOSING}\n\n{ANSWER}")
VALUES = (VALUE, "other_value")
Added = Callable[[str], Sequence[str]]
"""The added tokens of the vocabulary with which a text begins, one behind the other."""


@dataclass(frozen=True)
class Following:
    """Text behind a turn that the template does not end: where it is the last one, and where another follows,
    up to the token that begins that one."""

    last: str
    through_token: str


@dataclass(frozen=True)
class TurnShape:
    """Texts, empty where the template writes none."""

    prompt: str = ""
    """Text between a question and its answer, behind the token that ends the question."""
    end: str = ""
    """The tokens that end an answer."""
    trailing: str = ""
    """Text behind the end of the last answer: a line break, an end of text, a generation prompt."""
    call_end: str = ""
    """The token that ends an answer of tool calls."""
    question: Following | None = None
    """Text that follows an answer, if the template does not end it."""
    result: Following | None = None
    """Text that follows a call, if the template does not end it."""
    thoughts_end: str = ""
    """Text between thoughts and the answer."""
    takes_inline_as_text: bool = False
    """The prompt opens a block of thoughts, and an answer whose content has thoughts closes it before them: they have
    to be given apart from the content."""

    @property
    def ends(self) -> tuple[str, ...]:
        """All that ends an answer, each once."""
        following = [each.through_token for each in (self.question, self.result) if each]
        return tuple(dict.fromkeys(text for text in (self.end, self.call_end, *following) if text))


def shape_of(chat: ChatTemplate, with_tools: bool, stops: Collection[str], added: Added) -> TurnShape:
    """The shape of a template's turns; `stops` are the end tokens that the model's settings name."""
    tools = (TRIAL_TOOL,) if with_tools else ()

    def rendered(*messages: Message, prompt: bool = False) -> str:
        for opening in ((), (Message("system", SYSTEM),)):  # some templates want a system message
            with contextlib.suppress(jinja2.TemplateError):
                return chat.render([*opening, *messages], prompt, tools)
        return ""  # one that refuses this refuses such rows, with its reason

    asked = rendered(ASKED, prompt=True).rpartition(QUESTION)[2]
    last = rendered(ASKED, ANSWERED).rpartition(ANSWER)[2]
    middle = rendered(ASKED, ANSWERED, Message("user", NEXT)).rpartition(ANSWER)[2].partition(NEXT)[0]
    end = _end(last.lstrip(), middle.lstrip(), stops, added)
    trailing = last.lstrip()[len(end) :] if end else ""
    call = rendered(ASKED, calling(VALUE)).rpartition(VALUE)[2]
    calls = rendered(ASKED, calling(*VALUES)) or rendered(ASKED, calling(VALUE))
    call_end = end if end and calls.endswith(end + trailing) else _call_end(calls, added)
    answered = rendered(ASKED, calling(VALUE), RETURNED).rpartition(VALUE)[2].partition(RESULT)[0]
    return TurnShape(
        prompt=asked.removeprefix(end),
        end=end,
        trailing=trailing,
        call_end=call_end,
        question=None if end else _following(last, middle, added),
        result=None if call_end and call.endswith(call_end + trailing) else _following(call, answered, added),
        takes_inline_as_text=_takes_inline_as_text(rendered(ASKED, prompt=True), rendered(ASKED, INLINE)),
        thoughts_end=rendered(ASKED, THOUGHT_ABOUT).partition(THOUGHT)[2].partition(ANSWER)[0],
    )


def _takes_inline_as_text(prompt: str, thinking: str) -> bool:
    block = block_at_end(prompt)
    if block is None or block.closed or not thinking.startswith(prompt):
        return False
    return thinking[len(prompt) :].lstrip().startswith(block.closing)


def _end(last: str, middle: str, stops: Collection[str], added: Added) -> str:
    """The first token behind an answer, and those right behind it that end a turn wherever it stands.

    A token that stands behind the last turn alone ends the whole text.
    """
    found = added(last)
    end = found[0] if found else ""
    for token in found[1:]:
        if token not in stops or not (last.startswith(end + token) and middle.startswith(end + token)):
            break
        end += token
    return end


def _call_end(text: str, added: Added) -> str:
    """The token behind all calls. One that stands behind each of them does not end the turn."""
    after = max(map(text.rfind, VALUES))
    tail = text[after:].rstrip() if after >= 0 else ""
    starts = [at for at in range(len(tail)) if added(tail[at:])]
    token = tail[starts[-1] :] if starts else ""
    return token if list(added(token)) == [token] and token not in text[: max(after, 0)] else ""


def _following(last: str, middle: str, added: Added) -> Following | None:
    """Find what follows a turn in the texts behind its last word: where it is the last one, and where it is not."""
    bare = last.rstrip()
    behind = middle.removeprefix(bare)
    token = next(iter(added(behind.lstrip())), "")
    if not token or not middle.startswith(bare):
        return None
    return Following(last[len(bare) :], behind[: len(behind) - len(behind.lstrip())] + token)
