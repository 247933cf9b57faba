"""Text of an answer as its tokens come: whole characters only, and never the beginning of a stop text."""

from collections.abc import Callable, Sequence

from engine.inference.generation import UNFINISHED
from engine.inference.stop_text import StopText

Decode = Callable[[Sequence[int]], str]


class AnswerText:
    """Turns tokens into text that is settled."""

    def __init__(self, decode: Decode, stops: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, StopText(stops)
        self._tokens: list[int] = []
        self._context = self._read = 0
        """Tokens are decoded from `_context` on, because some write a blank only behind others; the text of those up to
        `_read` is known."""

    @property
    def ended(self) -> bool:
        """True once a stop text has come; it is left out."""
        return self._stop.stopped

    def add(self, token: int) -> str:
        """Text that is settled by one more token."""
        self._tokens.append(token)
        text = self._new()
        if text.endswith(UNFINISHED):
            return ""
        self._context, self._read = self._read, len(self._tokens)
        return self._stop.take(text)

    def rest(self) -> str:
        """Text that was still waiting; for an answer that a stop text did not end."""
        return "" if self.ended else self._stop.take(self._new()) + self._stop.rest()

    def _new(self) -> str:
        known = self._decode(self._tokens[self._context : self._read])
        return self._decode(self._tokens[self._context :])[len(known) :]
