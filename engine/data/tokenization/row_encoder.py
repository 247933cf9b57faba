"""Rows → tokens with a trained/untrained flag for each, by the model's own chat template.

What is trained of a conversation is what the assistant writes: from the end of the generation prompt to
its end-of-turn token, that token included; white space that the template puts after it is not. The spans
come from the template's `{% generation %}` marks where it has them, else from rendering the conversation up
to each answer.

The spans are characters; `engine.data.tokenization.span_alignment` finds the tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jinja2
import tokenizers

from engine.data.formats.base import REFUSED, RowError
from engine.data.tokenization.answers import AnswerFinder
from engine.data.tokenization.chat_template import Span
from engine.data.tokenization.dropped_content import unseen
from engine.data.tokenization.message_style import Tools
from engine.data.tokenization.row_size import check_size, split_text
from engine.data.tokenization.span_alignment import SpanCutter
from engine.data.tokenization.thought_blocks import with_thoughts_apart
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation, Row, Text
from engine.models.sizing import TokenRoom

ANYTHING = TokenRoom()
TrainOn = Literal["assistant", "last", "all"]
TAKES_NOT = (
    "Take a template that takes such rows (--set model.chat_template=chatml), or leave them out: "
    "--set data.on_error=skip"
)
"""What to do about rows for which a template raises an error."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row's text and the character spans of it that are trained, in order. `plain`: without a template.

    `unseen` is what the row has and the template does not show, in a word each.
    """

    text: str
    spans: tuple[Span, ...]
    plain: bool
    unseen: tuple[str, ...] = ()
    closes: bool = True
    """Whether a plain text ends here: a long one comes in pieces."""
    beyond: int = 0
    """Answers of the row that begin beyond what a text may have, and are left out."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row's ids, and the trained spans of them, in order. Position 0 is in none: nothing predicts it.

    `splittable`: plain text that is trained from its start, so that it can be split anywhere. `unseen`: see
    `Rendered`.
    """

    ids: list[int]
    spans: tuple[Span, ...]
    splittable: bool = False
    unseen: tuple[str, ...] = ()

    @property
    def trained(self) -> int:
        return sum(end - start for start, end in self.spans)


class _Cutoff:
    """Tells of prompts, each longer than the one before, whether they have as many tokens as a text may have."""

    def __init__(self, tokenizer: Tokenizer, limit: int | None) -> None:
        self._tokenizer, self._limit = tokenizer, limit
        self._known = 0
        """Characters of the last text that was counted."""
        self.asked = 0
        self.reached = False

    def __call__(self, text: str) -> bool:
        self.asked += 1
        # A token has a byte at least, a character at most four; then a text is counted that is half as long again.
        if self._limit is not None and len(text) >= max(self._limit // 4, self._known * 3 // 2):
            self._known = len(text)
            self.reached = len(self._tokenizer.encode([text], special=False)[0]) >= self._limit
        return self.reached


class RowEncoder:
    """Encodes rows for one tokenizer and one choice of what is trained."""

    def __init__(self, tokenizer: Tokenizer, train_on: TrainOn, room: TokenRoom = ANYTHING) -> None:
        """`room` is what the model can take of the tokens."""
        self.tokenizer = tokenizer
        self.room = room
        self.train_on = train_on
        self._stops = tuple(text for id_, text in tokenizer.added.items() if id_ in tokenizer.stop_ids)
        self._eos = tokenizer.added.get(tokenizer.eos_id, "")
        self._finders: dict[tuple[bool, bool], AnswerFinder] = {}
        self._cutter = SpanCutter(tokenizer)

    def render(self, row: Row, limit: int | None = None) -> list[Rendered]:
        """The text and its trained spans; several where the template shows an earlier turn differently later, and of
        long plain text, which is trained in chunks.

        `limit` is the number of tokens at which the text will be cut, None where it will not. Raises `RowError` where
        the row is far too long for it, where the template refuses it, or would not show what is to be trained.
        """
        if isinstance(row, Text):
            return self._plain(row, limit)
        check_size(row, limit)
        calls = any(message.has("tool_calls") for message in row.messages)
        finder = self._finder(row.tools, calls)
        if calls and not finder.chat.shows_calls:
            raise RowError(
                "the chat template does not show calls of tools",
                REFUSED,
                fix="Use a template that does: --set model.chat_template=chatml",
            )
        if finder.shape.takes_inline_as_text:
            row = replace(row, messages=tuple(map(with_thoughts_apart, row.messages)))
        turns = [index for index, message in enumerate(row.messages) if message.role == "assistant"]
        try:
            if self.train_on == "all":
                text = finder.chat.render(row.messages, tools=row.tools)
                return [Rendered(text, ((0, len(text)),), False, unseen(row, turns, finder.chat, text))]
            turns = turns[-1:] if self.train_on == "last" else turns
            turns = [index for index in turns if row.messages[index].trained]
            cutoff = _Cutoff(self.tokenizer, limit)
            found = finder.find(row, turns, cutoff)
        except jinja2.TemplateError as error:
            raise RowError(f"the chat template refuses it: {error}", REFUSED, fix=TAKES_NOT) from error
        trained = "".join([text[start:end] for text, spans, _ in found for start, end in spans])
        looked = turns[: cutoff.asked] if cutoff.reached else turns
        left_out, beyond = unseen(row, looked, finder.chat, trained), len(turns) - len(looked)
        return [Rendered(whole, spans, False, left_out, beyond=beyond) for _, spans, whole in found]

    def _plain(self, row: Text, limit: int | None) -> list[Rendered]:
        text = row.prompt + row.completion
        start = 0 if self.train_on == "all" else len(row.prompt)
        if start:
            check_size(row, limit)
            return [Rendered(text, ((start, len(text)),), plain=True)]
        parts = list(split_text(text))
        found = [Rendered(part, ((0, len(part)),), plain=True, closes=False) for part in parts[:-1]]
        return [*found, Rendered(parts[-1], ((0, len(parts[-1])),), plain=True)]

    def borrows(self, row: Row) -> bool:
        """Whether a row with tools is shown by ft's template, because the model's own shows none."""
        if not self.tokenizer.lends_template or not isinstance(row, Conversation):
            return False
        return bool(row.tools) or any(message.has("tool_calls") for message in row.messages)

    def _finder(self, tools: Tools, calls: bool) -> AnswerFinder:
        """What finds the answers of rows with such tools, and with calls or without."""
        key = bool(tools), calls
        if key not in self._finders:
            chat, shape = self.tokenizer.template(tools, calls), self.tokenizer.shape(tools, calls)
            self._finders[key] = AnswerFinder(chat, shape, self._stops, self._eos)
        return self._finders[key]

    def encode(self, rows: Sequence[Rendered]) -> list[Encoded]:
        """Tokens of many rows at once, on all cores."""
        encodings = self.tokenizer.encode_spans([row.text for row in rows])
        return [self._finish(row, encoding) for row, encoding in zip(rows, encodings, strict=True)]

    def _finish(self, row: Rendered, encoding: tokenizers.Encoding) -> Encoded:
        ids, spans = self._cutter.cut(row.text, row.spans, encoding)
        if row.plain:
            ids, spans = self._surrounded(ids, spans, row)
        if spans[0][0] == 0:
            spans[0] = (1, spans[0][1])
        splittable = row.plain and row.spans[0][0] == 0
        return Encoded(ids, tuple(span for span in spans if span[0] < span[1]), splittable, row.unseen)

    def _surrounded(self, ids: list[int], spans: list[Span], row: Rendered) -> tuple[list[int], list[Span]]:
        """Plain text between what the tokenizer puts in front of one and the end token, where it lacks them itself, as
        a conversation does that somebody has rendered already."""
        lead, stops = self.tokenizer.prefix_ids, self.tokenizer.stop_ids
        if ids[: len(lead)] != lead:
            ids = [*lead, *ids]
            spans = [(start + len(lead), end + len(lead)) for start, end in spans]
        if not row.closes:
            return ids, spans
        start, end = spans[-1]
        if row.text.rstrip().endswith(self._stops):
            end = next((at for at in range(end, start, -1) if ids[at - 1] in stops), end)
        elif ids[-1] != self.tokenizer.eos_id:
            ids = [*ids, self.tokenizer.eos_id]
            end = len(ids)
        return ids, [*spans[:-1], (start, end)]
