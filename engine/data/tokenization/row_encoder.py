"""Rows → tokens with trained spans, by the model's own chat template.

Trained of a conversation is what the assistant writes: from the end of the generation prompt to its end-of-turn token,
which is included; white space that the template puts after it is not. The spans come from the template's
`{% generation %}` marks where it has them, else from rendering the conversation up to each answer.

A template gives spans of characters, `engine.data.tokenization.span_alignment` turns them into spans of tokens, and
`Encoded` is where it is settled which tokens are trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jinja2
import tokenizers

from engine.data.formats.base import REFUSED, RowError
from engine.data.samples import answers_of, supervised_row
from engine.data.tokenization.answers import AnswerFinder, Prompts
from engine.data.tokenization.chat_template import Span
from engine.data.tokenization.dropped_content import unseen
from engine.data.tokenization.message_style import Tools
from engine.data.tokenization.row_size import check_size, split_text
from engine.data.tokenization.span_alignment import SpanCutter
from engine.data.tokenization.thought_blocks import with_thoughts_apart
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation, Row, Sample, Text
from engine.methods import Samples
from engine.models.shape import TokenRoom

ANYTHING = TokenRoom()
TrainOn = Literal["assistant", "last", "all"]
SEVERAL = "with an answer that takes several texts"
LAST_ONLY = "Compare only the last turn of each answer: data.train_on: last"
TAKES_NOT = (
    "Take a template that takes such rows (model.chat_template: chatml), or leave them out "
    "(data.on_error: skip in a recipe)"
)
"""Advice for rows for which a template raises an error."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text of a row and the character spans of it that are trained, in order. `plain`: without a template.

    `unseen` names what the row has and the template does not show, in a word each. `sign` is the side on which the
    answer counts, see `Examples`.
    """

    text: str
    spans: tuple[Span, ...]
    plain: bool
    unseen: tuple[str, ...] = ()
    closes: bool = True
    """False for a piece of a long plain text that continues after it."""
    beyond: int = 0
    """Answers of the row that begin beyond the limit of a text, and are left out."""
    sign: int = 0

    @property
    def splittable(self) -> bool:
        """True for plain text that is trained from its start, so that it can be split anywhere."""
        return self.plain and not self.sign and self.spans[0][0] == 0


@dataclass(frozen=True, slots=True)
class Encoded:
    """Ids of a text, and the spans of them that are trained, in order.

    This is the one place that decides which tokens are trained: spans are cut to the ids that there are, without
    position 0, which nothing predicts, and empty ones are dropped. `splittable`, `unseen`, `sign`: see `Rendered`.
    """

    ids: list[int]
    spans: tuple[Span, ...]
    splittable: bool = False
    unseen: tuple[str, ...] = ()
    sign: int = 0

    def __post_init__(self) -> None:
        last = len(self.ids)
        cut = ((max(start, 1), min(end, last)) for start, end in self.spans)
        object.__setattr__(self, "spans", tuple(span for span in cut if span[0] < span[1]))

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return sum(end - start for start, end in self.spans)


@dataclass(frozen=True, slots=True)
class TextGroup:
    """Texts that stay together, each with its row: one, or those of the chosen and the rejected answer of a pair."""

    rows: tuple[Row, ...]
    texts: tuple[Rendered, ...]


class _Cutoff:
    """Finds out if prompts, each longer than the one before, reach the limit of tokens of a text."""

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
    """Encodes samples for one tokenizer, one method and one choice of what is trained."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        train_on: TrainOn,
        room: TokenRoom = ANYTHING,
        samples: Samples = "supervised",
    ) -> None:
        """`room` says which tokens the model can take, `samples` what the training method takes of a row."""
        self.tokenizer = tokenizer
        self.samples = samples
        self.room = room
        self.train_on = train_on
        self._stops = tuple(text for id_, text in tokenizer.added.items() if id_ in tokenizer.stop_ids)
        self._eos = tokenizer.added.get(tokenizer.eos_id, "")
        self._finders: dict[tuple[bool, bool], AnswerFinder] = {}
        self._cutter = SpanCutter(tokenizer)

    def groups(self, sample: Sample, limit: int | None = None) -> list[TextGroup]:
        """Texts for what the method takes of a sample, grouped by what stays together; empty if that is nothing.

        The prompt of a pair is rendered once, for both answers. `limit` and errors as in `render`; also raises
        `RowError` for a sample of another kind than the method takes, and for an answer that is not one text.
        """
        if self.samples == "supervised":
            row = supervised_row(sample, self.train_on)
            return [] if row is None else [TextGroup((row,), (text,)) for text in self.render(row, limit)]
        found: list[TextGroup] = []
        for answers in answers_of(sample, self.samples, self.train_on):
            rows = tuple(answer.row for answer in answers)
            prompts = Prompts(*rows)
            rendered = [self.render(row, limit, prompts) for row in rows]
            if any(len(texts) > 1 for texts in rendered):
                raise RowError(
                    "an answer takes several texts, and only one can be compared", SEVERAL, fix=LAST_ONLY
                )
            texts = (replace(each[0], sign=one.sign) for each, one in zip(rendered, answers, strict=True))
            found.append(TextGroup(rows, tuple(texts)))
        return found

    def render(self, row: Row, limit: int | None = None, prompts: Prompts | None = None) -> list[Rendered]:
        """Render a text and its trained spans; several where the template shows an earlier turn differently later, and
        for long plain text, which is trained in chunks.

        `limit` is the number of tokens at which the text will be cut, None where it will not; `prompts` are those that
        the row shares with another one. Raises `RowError` where the row is far too long for the limit, where the
        template refuses it, or would not show what is to be trained.
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
                fix="Use a template that does: model.chat_template: chatml",
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
            found = finder.find(row, turns, cutoff, prompts)
        except jinja2.TemplateError as error:
            raise RowError(f"the chat template refuses it: {error}", REFUSED, fix=TAKES_NOT) from error
        trained = "".join([text[start:end] for text, spans, _ in found for start, end in spans])
        within = turns[: cutoff.asked] if cutoff.reached else turns
        left_out, beyond = unseen(row, within, finder.chat, trained), len(turns) - len(within)
        return [Rendered(whole, spans, False, left_out, beyond=beyond) for _, spans, whole in found]

    def _plain(self, row: Text, limit: int | None) -> list[Rendered]:
        text = row.prompt + row.completion
        start = 0 if self.train_on == "all" else len(row.prompt)
        if start:
            check_size(row, limit)
            return [Rendered(text, ((start, len(text)),), plain=True)]
        pieces = list(split_text(text))
        found = [Rendered(piece, ((0, len(piece)),), plain=True, closes=False) for piece in pieces[:-1]]
        return [*found, Rendered(pieces[-1], ((0, len(pieces[-1])),), plain=True)]

    def borrows(self, row: Row) -> bool:
        """Return True for a row with tools that ft's template shows, because the model's own shows none."""
        if not self.tokenizer.lends_template or not isinstance(row, Conversation):
            return False
        return bool(row.tools) or any(message.has("tool_calls") for message in row.messages)

    def _finder(self, tools: Tools, calls: bool) -> AnswerFinder:
        """Finder of answers in rows with such tools, and with calls or without."""
        key = bool(tools), calls
        if key not in self._finders:
            chat, shape = self.tokenizer.template(tools, calls), self.tokenizer.shape(tools, calls)
            self._finders[key] = AnswerFinder(chat, shape, self._stops, self._eos)
        return self._finders[key]

    def encode(self, rows: Sequence[Rendered]) -> list[Encoded]:
        """Encode many texts together, on all cores."""
        encodings = self.tokenizer.encode_spans([row.text for row in rows])
        return [self._finish(row, encoding) for row, encoding in zip(rows, encodings, strict=True)]

    def _finish(self, row: Rendered, encoding: tokenizers.Encoding) -> Encoded:
        ids, spans = self._cutter.cut(row.text, row.spans, encoding)
        if row.plain:
            ids, spans = self._surrounded(ids, spans, row)
        return Encoded(ids, tuple(spans), row.splittable, row.unseen, row.sign)

    def _surrounded(self, ids: list[int], spans: list[Span], row: Rendered) -> tuple[list[int], list[Span]]:
        """Put the tokenizer's prefix in front of plain text and the end token behind it, unless they are there already,
        as in a conversation that somebody has rendered."""
        prefix, stops = self.tokenizer.prefix_ids, self.tokenizer.stop_ids
        if ids[: len(prefix)] != prefix:
            ids = [*prefix, *ids]
            spans = [(start + len(prefix), end + len(prefix)) for start, end in spans]
        if not row.closes:
            return ids, spans
        start, end = spans[-1]
        if row.text.rstrip().endswith(self._stops):
            end = next((at for at in range(end, start, -1) if ids[at - 1] in stops), end)
        elif ids[-1] != self.tokenizer.eos_id:
            ids = [*ids, self.tokenizer.eos_id]
            end = len(ids)
        return ids, [*spans[:-1], (start, end)]
