"""Rows → tokens with a trained/untrained flag for each, by the model's own chat template.

What is trained of a conversation is what the assistant writes: from the end of the generation prompt to
its end-of-turn token, that token included; white space that the template puts after it is not. The spans
come from the template's `{% generation %}` marks where it has them, else from rendering the conversation up
to each answer.

The spans are characters; `engine.data.token_spans` finds the tokens.
"""

import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jinja2
import tokenizers

from engine.data.chat_template import ChatTemplate, Span
from engine.data.form import NOTHING, REFUSED, RowError
from engine.data.token_spans import SpanCutter
from engine.data.tokenizer import Tokenizer
from engine.data.types import Conversation, Message, Row, Text
from engine.models.sizing import TokenRoom

ANYTHING = TokenRoom()
TrainOn = Literal["assistant", "last", "all"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row's text and the character spans of it that are trained, in order. `plain`: without a template."""

    text: str
    spans: tuple[Span, ...]
    plain: bool


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row's ids, and the trained spans of them, in order. Position 0 is in none: nothing predicts it.

    `may_part`: plain text that is trained from its start, so that it can be parted anywhere.
    """

    ids: list[int]
    spans: tuple[Span, ...]
    may_part: bool = False

    @property
    def trained(self) -> int:
        return sum(end - start for start, end in self.spans)


class RowEncoder:
    """Encodes rows for one tokenizer and one choice of what is trained."""

    def __init__(self, tokenizer: Tokenizer, train_on: TrainOn, room: TokenRoom = ANYTHING) -> None:
        """`room` is what the model can take of the tokens."""
        self.tokenizer = tokenizer
        self.room = room
        self.train_on = train_on
        self._stops = tuple(text for id_, text in tokenizer.added.items() if id_ in tokenizer.stop_ids)
        self._cutter = SpanCutter(tokenizer)

    def render(self, row: Row) -> list[Rendered]:
        """The text and its trained spans; several where the template shows an earlier turn differently later.

        Raises `RowError` where the template refuses the row, or would not show what is to be trained.
        """
        if isinstance(row, Text):
            text = row.prompt + row.completion
            start = 0 if self.train_on == "all" else len(row.prompt)
            return [Rendered(text, ((start, len(text)),), plain=True)]
        chat = self.tokenizer.template(row.tools)
        try:
            if not chat.shows_calls and any(message.has("tool_calls") for message in row.messages):
                raise RowError(
                    "the chat template does not show calls of tools; model.chat_template names another",
                    REFUSED,
                )
            if self.train_on == "all":
                text = chat.render(row.messages, tools=row.tools)
                return [Rendered(text, ((0, len(text)),), plain=False)]
            return [self._marked(chat, row)] if chat.has_marks else self._answers(chat, row)
        except jinja2.TemplateError as error:
            raise RowError(f"the chat template refuses it: {error}", REFUSED) from error

    def unseen(self, row: Row) -> list[str]:
        """What a row has and the template does not show, in a word each."""
        if isinstance(row, Text) or not (row.tools or any(message.more for message in row.messages)):
            return []
        chat = self.tokenizer.template(row.tools)
        found = ["tools"] if row.tools and not chat.shows_tools else []
        if not chat.shows_reasoning and any(message.has("reasoning_content") for message in row.messages):
            found.append("reasoning")
        return found

    def encode(self, rows: Sequence[Rendered]) -> list[Encoded]:
        """Tokens of many rows at once, on all cores."""
        encodings = self.tokenizer.encode_spans([row.text for row in rows])
        return [self._finish(row, encoding) for row, encoding in zip(rows, encodings, strict=True)]

    def _marked(self, chat: ChatTemplate, row: Conversation) -> Rendered:
        text, marked = chat.render_marked(row.messages, row.tools)
        turns = [message for message in row.messages if message.role == "assistant"]
        if not all(message.trained for message in turns):
            if len(marked) != len(turns):
                raise RowError(
                    f"the chat template marks {len(marked)} parts of it as the assistant's, which has "
                    f"{len(turns)} turns: which of them is not to be trained cannot be told",
                    REFUSED,
                )
            marked = [span for span, message in zip(marked, turns, strict=True) if message.trained]
        spans = [self._with_end_token(text, span) for span in marked if span[0] < span[1]]
        if not spans:
            raise RowError("the chat template marks nothing of it as the assistant's", NOTHING)
        return Rendered(text, tuple(spans[-1:] if self.train_on == "last" else spans), plain=False)

    def _with_end_token(self, text: str, span: Span) -> Span:
        """Marks may end before the end-of-turn token; without it the model would never learn to stop."""
        start, end = span
        after = next((stop for stop in self._stops if text.startswith(stop, end)), "")
        return start, end + len(after)

    def _answers(self, chat: ChatTemplate, row: Conversation) -> list[Rendered]:
        """One text with all answers, as long as each shows those before it as the model has learnt them.

        Where the template shows them otherwise once later turns follow (some drop their reasoning), a new text
        begins: each answer is then trained after the history that the model will really be given.
        """
        messages = row.messages
        whole = chat.render(messages, tools=row.tools)
        turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
        found: list[Rendered] = []
        text = ""
        spans: list[Span] = []
        for index in turns[-1:] if self.train_on == "last" else turns:
            if not messages[index].trained:
                continue
            before = self._before(chat, row, index)
            last = index == len(messages) - 1
            through = whole if last else chat.render(messages[: index + 1], tools=row.tools)
            if not through.startswith(before):
                raise RowError(
                    f"the chat template shows messages[{index}] unlike its generation prompt, so the model would "
                    "learn other text than it will see",
                    REFUSED,
                )
            if spans and not through.startswith(text):
                found.append(Rendered(text, tuple(spans), plain=False))
                spans = []
            text = through
            spans.append((len(before), self._end(through, len(before))))
        found.append(Rendered(whole if whole.startswith(text) else text, tuple(spans), plain=False))
        return found

    def _before(self, chat: ChatTemplate, row: Conversation, index: int) -> str:
        """The text that an answer follows: the prompt that a model gets. Where the assistant opens the
        conversation there is no prompt, and it is the part that does not depend on what it says."""
        if index:
            return chat.render(row.messages[:index], generation_prompt=True, tools=row.tools)
        openings = [chat.render([Message("assistant", content)], tools=row.tools) for content in ("A", "B")]
        return os.path.commonprefix(openings)  # noqa: RUF071 - characters are what is meant

    def _end(self, text: str, start: int) -> int:
        """After the end token; a template without one keeps its white space, the only end the model sees."""
        stripped = text.rstrip()
        return len(stripped) if stripped.endswith(self._stops) and len(stripped) > start else len(text)

    def _finish(self, row: Rendered, encoding: tokenizers.Encoding) -> Encoded:
        ids, spans = self._cutter.cut(row.text, row.spans, encoding)
        if row.plain:
            shift = len(self.tokenizer.lead)
            ids = [*self.tokenizer.lead, *ids]
            spans = [(start + shift, end + shift) for start, end in spans]
            if ids[-1] != self.tokenizer.eos_id:
                ids = [*ids, self.tokenizer.eos_id]
                spans[-1] = (spans[-1][0], len(ids))
        if spans[0][0] == 0:
            spans[0] = (1, spans[0][1])
        may_part = row.plain and row.spans[0][0] == 0
        return Encoded(ids, tuple(span for span in spans if span[0] < span[1]), may_part)
