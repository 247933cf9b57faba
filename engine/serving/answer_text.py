"""Text of an answer as its tokens come: whole characters only, and never the beginning of a stop text."""

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"
"""Sign that decoding shows for a character whose last bytes are still to come."""
Decode = Callable[[Sequence[int]], str]


class AnswerText:
    """Turns tokens into settled text. `ended` is True once a stop text has come; it is left out."""

    def __init__(self, decode: Decode, stops: Sequence[str] = ()) -> None:
        self._decode, self._stops = decode, tuple(stop for stop in stops if stop)
        self._tokens: list[int] = []
        self._context = self._read = 0
        """Tokens are decoded from `_context` on, because some write a blank only behind others; up to `_read`, their
        text is in `_waiting` or settled."""
        self._waiting = ""
        """Text that may be the beginning of a stop text."""
        self.ended = False

    def add(self, token: int) -> str:
        """Text that is settled by one more token."""
        self._tokens.append(token)
        text = self._new()
        if text.endswith(UNFINISHED):
            return ""
        self._context, self._read = self._read, len(self._tokens)
        return self._settled(text, last=False)

    def rest(self) -> str:
        """Text that was still waiting; for an answer that a stop text did not end."""
        return "" if self.ended else self._settled(self._new(), last=True)

    def _new(self) -> str:
        known = self._decode(self._tokens[self._context : self._read])
        return self._decode(self._tokens[self._context :])[len(known) :]

    def _settled(self, text: str, last: bool) -> str:
        self._waiting += text
        places = [at for stop in self._stops if (at := self._waiting.find(stop)) >= 0]
        if places:
            self.ended = True
            found, self._waiting = self._waiting[: min(places)], ""
            return found
        kept = 0 if last else max((_overlap(self._waiting, stop) for stop in self._stops), default=0)
        end = len(self._waiting) - kept
        found, self._waiting = self._waiting[:end], self._waiting[end:]
        return found


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` with which `stop` begins."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
