"""The answers of a conversation, each in a text that begins with the prompt that the model will be asked with.

For an answer a model is given `render(messages before it, generation prompt)`, and what is trained is what it should
write there. Answers share a text as long as the text up to the end of one begins the text up to the end of the next.
"""

import os.path
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import takewhile
from typing import NamedTuple

import jinja2

from engine.data.formats.base import NOTHING, REFUSED, RowError
from engine.data.tokenization.answer_joins import joined
from engine.data.tokenization.answer_windows import Answers, in_windows
from engine.data.tokenization.chat_template import ChatTemplate, Span
from engine.data.tokenization.message_style import (
    ANSWER,
    ANSWERED,
    ASKED,
    RETURNED,
    THOUGHT,
    TRIAL_TOOL,
    VALUE,
    calling,
)
from engine.data.tokenization.thought_blocks import CLOSING
from engine.data.tokenization.turn_shape import INLINE, NEXT, TurnShape
from engine.data.types import Conversation, Message, Row

MANY = 32
"""Answers from which a conversation is not rendered up to each of them: that would take their number squared."""


class Kind(NamedTuple):
    """Features of a conversation that templates treat differently."""

    thoughts: bool
    inline: bool
    """Thoughts that stand in the content."""
    calls: bool
    tools: bool

    @classmethod
    def of(cls, row: Conversation) -> "Kind":
        thoughts = inline = calls = False
        for message in row.messages:
            if message.role == "assistant":
                inline |= CLOSING in message.content
                if message.more:
                    thoughts |= message.has("reasoning_content")
                    calls |= message.has("tool_calls")
        return cls(thoughts, inline, calls, bool(row.tools))

    def trial(self) -> Conversation:
        """A conversation of this kind."""
        content = INLINE.content if self.inline else ANSWER
        more = {"reasoning_content": THOUGHT} if self.thoughts else None
        answer = Message("assistant", content, more=more)
        calls = calling(VALUE).more or {}
        call = replace(answer, content=content.removesuffix(ANSWER), more={**calls, **(more or {})})
        first = (ASKED, call, RETURNED, answer) if self.calls else (ASKED, answer)
        return Conversation(
            (*first, Message("user", NEXT), ANSWERED), "", (TRIAL_TOOL,) if self.tools else ()
        )


class Prompts:
    """Prompts that conversations have in common, by the number of messages in them: each is rendered once."""

    def __init__(self, *rows: Row) -> None:
        talks = [row for row in rows if isinstance(row, Conversation)]
        self._shared = 0
        """Messages with which all of the conversations begin."""
        if len(talks) == len(rows) > 1 and all(talk.tools == talks[0].tools for talk in talks):
            alike = zip(*(talk.messages for talk in talks), strict=False)
            self._shared = sum(1 for _ in takewhile(lambda turns: all(t == turns[0] for t in turns), alike))
        self._texts: dict[int, str] = {}

    def get(self, count: int, render: Callable[[], str]) -> str:
        """The prompt of the first `count` messages, rendered if it is not known."""
        if count > self._shared:
            return render()
        if count not in self._texts:
            self._texts[count] = render()
        return self._texts[count]


class AnswerFinder:
    """Finds the answers of conversations for one chat template."""

    def __init__(self, chat: ChatTemplate, shape: TurnShape, stops: Sequence[str], eos: str) -> None:
        """`stops` are the tokens that may end an answer, as text; `eos` is put behind an answer that a template
        without an end of turn leaves open."""
        self.chat, self.shape, self._eos = chat, shape, eos
        self._stops = tuple(sorted({*stops, *shape.ends}, key=len, reverse=True))
        self._marks_hold = lru_cache(maxsize=None)(self._try_marks)

    def find(
        self,
        row: Conversation,
        turns: Sequence[int],
        is_beyond: Callable[[str], bool] = lambda _: False,
        prompts: Prompts | None = None,
    ) -> list[Answers]:
        """Find the texts for the answers at these places among the messages.

        Of a long conversation, those are left out from the first on whose prompt `is_beyond` what a text may have: it
        is called for each but the first. `prompts` are those that the row shares with another. Raises `RowError`, and
        `jinja2.TemplateError` where the template refuses the row.
        """
        if self.chat.has_marks and self._marks_hold(Kind.of(row)) and (whole := self._marked(row, turns)):
            return [whole]
        if len(turns) <= MANY:
            return self._one_by_one(row, turns, prompts=prompts)
        together = in_windows(row, turns, self.chat, self._one_by_one)
        return [self._ended(together)] if together else self._one_by_one(row, turns, is_beyond)

    def _one_by_one(
        self,
        row: Conversation,
        turns: Sequence[int],
        is_beyond: Callable[[str], bool] = lambda _: False,
        prompts: Prompts | None = None,
    ) -> list[Answers]:
        found: list[Answers] = []
        for answer in self._each(row, turns, is_beyond, prompts):
            if found and answer.text.startswith(found[-1].text):
                found[-1] = answer._replace(spans=(*found[-1].spans, *answer.spans))
            else:
                found.append(answer)
        if not found:
            raise RowError("the chat template marks nothing of it as the assistant's", NOTHING)
        if turns[-1] < len(row.messages) - 1:
            whole = self.chat.render(row.messages, tools=row.tools)
            text = found[-1].text
            found[-1] = found[-1]._replace(whole=whole if whole.startswith(text) else text)
        return [self._ended(answers) for answers in found]

    def _each(
        self,
        row: Conversation,
        turns: Sequence[int],
        is_beyond: Callable[[str], bool],
        prompts: Prompts | None,
    ) -> Iterator[Answers]:
        """Each answer in a text of its own, without those that the template's marks leave out."""
        for number, index in enumerate(turns):
            render = partial(self._prompt, row, index)
            prompt = prompts.get(index, render) if prompts else render()
            if number and is_beyond(prompt):
                return
            messages = row.messages[: index + 1]
            marks: list[Span] | None = None
            if self.chat.has_marks:
                text, marks = self.chat.render_marked(messages, row.tools)
            else:
                text = self.chat.render(messages, tools=row.tools)
            if not text.startswith(prompt):
                if marks != []:
                    yield self._joined(prompt, row, index)
            elif (answer := self._shown(prompt, text, marks, row.messages[index])).spans:
                yield answer

    def _prompt(self, row: Conversation, index: int) -> str:
        """The text that an answer follows. Where the assistant opens the conversation there is no prompt, and it is the
        part that does not depend on what it says."""
        if index:
            return self.chat.render(row.messages[:index], generation_prompt=True, tools=row.tools)
        openings = [self.chat.render([Message("assistant", content)], tools=row.tools) for content in "AB"]
        return os.path.commonprefix(openings)  # noqa: RUF071 - characters are what is meant

    def _shown(self, prompt: str, whole: str, marks: Sequence[Span] | None, message: Message) -> Answers:
        """An answer that the template shows behind its prompt."""
        first = len(prompt)
        text, end = self._closed(whole, first, message)
        whole = whole if whole.startswith(text) else text
        if marks is None:
            return Answers(text, ((first, len(text)),), whole)
        spans: list[Span] = []
        for start, stop in ((max(start, first), min(stop, end)) for start, stop in marks):
            if start < stop and spans and spans[-1][1] == start:
                spans[-1] = (spans[-1][0], stop)
            elif start < stop:
                spans.append((start, stop))
        if spans and text[spans[-1][1] :].strip() in self._stops:
            spans[-1] = (spans[-1][0], len(text))  # without the end token the model would never learn to stop
        return Answers(text, tuple(spans), whole)

    def _joined(self, prompt: str, row: Conversation, index: int) -> Answers:
        """An answer that the template shows otherwise than behind its prompt."""

        def render(messages: Sequence[Message], generation_prompt: bool) -> str:
            return self.chat.render(messages, generation_prompt, row.tools)

        def ended(text: str) -> str:
            return self._closed(text, 0, row.messages[index])[0]

        messages = row.messages[: index + 1]
        answer = joined(messages, prompt, render, ended, self.shape.thoughts_end)
        if answer is None:
            raise RowError(
                f"the chat template shows messages[{index}] unlike its generation prompt, so it is "
                "unknown what the model would write there",
                REFUSED,
                fix=_another(self.chat),
            )
        return Answers(prompt + answer, ((len(prompt), len(prompt) + len(answer)),), prompt + answer)

    def _end(self, text: str, start: int) -> int:
        """After the end of the answer that begins at `start`. A text that nothing ends is taken whole: white space is
        then the only end that the model sees."""
        body = text.removesuffix(self.shape.trailing)
        if not body.endswith(self._stops):
            body = text.rstrip()
        return len(body) if body.endswith(self._stops) and len(body) > start else len(text)

    def _closed(self, text: str, start: int, message: Message) -> tuple[str, int]:
        """The text through what ends its last message, and where that message itself ends.

        Where the template writes no end of turn, it is the token that begins the next one.
        """
        end = self._end(text, start)
        following = self.shape.result if message.has("tool_calls") else self.shape.question
        if following is None or text.endswith(self._stops, 0, end):
            return text[:end], end
        end = max(start, len(text.removesuffix(following.last)))
        return text[:end] + following.through_token, end

    def _ended(self, answers: Answers) -> Answers:
        """With the model's end token behind the last answer, where the template has no end of turn."""
        start, end = answers.spans[-1]
        if self.shape.end or answers.text.endswith(self._stops, 0, end):
            return answers
        text = answers.text[: max(start, len(answers.text[:end].rstrip()))] + self._eos
        return Answers(text, (*answers.spans[:-1], (start, len(text))), text)

    def _marked(self, row: Conversation, turns: Sequence[int]) -> Answers | None:
        """All answers in one text, by the template's marks alone; None if those are not enough."""
        text, marks = self.chat.render_marked(row.messages, row.tools)
        places = [index for index, message in enumerate(row.messages) if message.role == "assistant"]
        if len(marks) != len(places) or not places[0] or not self.shape.prompt:
            return None
        if len(turns) < len(places):
            chosen = set(turns)
            marks = [span for index, span in zip(places, marks, strict=True) if index in chosen]
        spans, size = [], len(self.shape.prompt)
        for start, end in marks:
            prompt = text.find(self.shape.prompt, max(0, start - size), start + size)
            stop = start + len(text[start:end].rstrip())
            if not text.endswith(self._stops, start, stop):
                after = next((stop for stop in self._stops if text.startswith(stop, end)), "")
                stop = end + len(after) if after else -1
            if prompt < 0 or stop < 0:
                return None
            spans.append((prompt + size, stop))
        return Answers(text[: spans[-1][1]], tuple(spans), text) if spans else None

    def _try_marks(self, kind: Kind) -> bool:
        """Return True if the marks give the same for a conversation of this kind as finding its answers one by one."""
        trial = kind.trial()
        turns = [index for index, message in enumerate(trial.messages) if message.role == "assistant"]
        try:
            return [self._marked(trial, turns)] == self._one_by_one(trial, turns)
        except (RowError, jinja2.TemplateError):
            return False


def _another(chat: ChatTemplate) -> str:
    """Advice for a template that shows a turn unlike its prompt."""
    fix = "It is the template and not the rows: use another one, as model.chat_template: chatml"
    read = ", ".join(sorted(chat.reads))
    return f"{fix}, or see what model.template_variables changes: it reads {read}" if read else fix
