"""Parts of an answer while its text comes: reasoning, text, and the calls at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.data.tokenization.thought_blocks import ThoughtBlock
from engine.data.tokenization.tokenizer import CALL_MARKS
from engine.inference.answer import End, Piece
from engine.inference.reasoning import Reasoning
from engine.inference.stop_text import could_begin
from engine.inference.tool_calls import calls_in


class AnswerParts:
    """Divides the text of an answer. From where a call begins, text is held back, and read when it is whole."""

    def __init__(self, block: ThoughtBlock | None = None, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        """`block` is the block of reasoning with which the prompt ends; `tools` are those that may be called."""
        self._reasoning = Reasoning(block)
        self._tools = tools
        self._held = ""
        self._given = False

    def take(self, text: str) -> Piece:
        """What is certain, now that the answer has gone on with `text`."""
        piece = self._reasoning.take(text)
        return replace(piece, text=self._before_calls(piece.text))

    def end(self, rest: str, cut: bool, prompt_tokens: int | None, tokens: int | None) -> Piece:
        """The last piece. `cut` is True where the limit of tokens ended the answer."""
        taken, left = self._reasoning.take(rest), self._reasoning.rest()
        text, calls = calls_in(self._held + taken.text + left.text, self._tools)
        finish = End("length" if cut else "tool_calls" if calls else "stop", prompt_tokens, tokens)
        return Piece(text, taken.reasoning + left.reasoning, calls, finish)

    def _before_calls(self, text: str) -> str:
        self._held += text
        begins = [at for mark in CALL_MARKS if (at := self._held.find(mark)) >= 0]
        if not self._given and self._tools and self._held.lstrip()[:1] in ("", "{", "["):
            begins.append(0)
        size = min(begins, default=len(self._held) - could_begin(self._held, CALL_MARKS))
        given = self._held[:size].rstrip()
        self._held = self._held[len(given) :]
        self._given = self._given or bool(given)
        return given
