"""Reasoning apart from the answer behind it, while both come in pieces."""

from engine.data.tokenization.thought_blocks import CLOSING, OPENING, TAGS, ThoughtBlock
from engine.inference.answer import Piece
from engine.inference.stop_text import could_begin

BLOCKS = {OPENING: CLOSING, "<thinking>": "</thinking>", **dict(TAGS)}
"""Tags that open a block of reasoning at the beginning of an answer, and those that close it."""


class Reasoning:
    """Divides a text into the reasoning with which it begins, and the answer. Blanks around
    reasoning are left out."""

    def __init__(self, block: ThoughtBlock | None = None) -> None:
        """`block` is the one with which the prompt ends: where it is open, the text begins inside it."""
        self._closing = block.closing if block is not None and not block.closed else ""
        self._decided = bool(self._closing)
        self._begun = not self._decided
        self._held = ""

    def take(self, text: str) -> Piece:
        """What is certain, now that the text has gone on."""
        self._held += text
        if not self._decided:
            self._decide()
        if not self._decided:
            return Piece()
        if not self._closing:
            return Piece(text=self._give(len(self._held)))
        inside, found, after = self._held.partition(self._closing)
        if not found:
            certain = self._held[: len(self._held) - could_begin(self._held, [self._closing])]
            return Piece(reasoning=self._give(len(certain.rstrip())))
        self._held = inside.rstrip()
        reasoning = self._give(len(self._held))
        self._closing, self._begun, self._held = "", False, after
        return Piece(reasoning=reasoning, text=self._give(len(after)))

    def rest(self) -> Piece:
        """What was held back at the end."""
        given = self._give(len(self._held))
        return Piece(reasoning=given) if self._closing else Piece(text=given)

    def _decide(self) -> None:
        """Look if the text begins with a tag; it is left open while it could."""
        begun = self._held.lstrip()
        for opening, closing in BLOCKS.items():
            if begun.startswith(opening):
                self._closing, self._decided, self._begun = closing, True, False
                self._held = begun[len(opening) :]
                return
        self._decided = bool(begun) and not any(opening.startswith(begun) for opening in BLOCKS)

    def _give(self, length: int) -> str:
        given, self._held = self._held[:length], self._held[length:]
        given = given if self._begun else given.lstrip()
        self._begun = self._begun or bool(given)
        return given
