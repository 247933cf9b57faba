"""Spans of characters → spans of tokens, cut exactly there.

The ids before an answer are those that the model will be given as a prompt. Where a token would straddle the boundary,
the text is encoded in two pieces.
"""

from collections.abc import Sequence
from functools import lru_cache

import tokenizers

from engine.data.chat_template import Span
from engine.data.tokenizer import Tokenizer


class SpanCutter:
    """Finds the tokens of spans, for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # Generation prompts are the same few strings in every row.
        self._tail_ids = lru_cache(maxsize=256)(self._ids)

    def cut(
        self, text: str, spans: Sequence[Span], encoding: tokenizers.Encoding
    ) -> tuple[list[int], list[Span]]:
        """Character spans → token spans. Where tokens do not part at a start, the text is encoded in two."""
        ids = encoding.ids
        found = []
        for number, (start, end) in enumerate(spans):
            first, last = _token_at(encoding, text, start), _token_at(encoding, text, end)
            if first < len(ids) and ids[first] in self._tokenizer.added and _start(encoding, first) < start:
                first += 1  # it has swallowed the white space with which the answer begins
            if last and last < len(ids) and _start(encoding, last) < end:
                last += 1  # it began inside the span, so the model writes it
            found.append((first, last))
            if not self._parts(ids, text[:start], encoding, first):
                split = self._split(text, spans, number)
                if self._tokenizer.decode(split[0], False) == self._tokenizer.decode(ids, False):
                    return split
                # A tokenizer that puts a space before every text cannot continue one: the token stays whole.
        return ids, found

    def _parts(self, ids: list[int], before: str, encoding: tokenizers.Encoding, first: int) -> bool:
        """True where the ids before `first` are those of the text `before`, encoded alone.

        Special tokens part a text before anything else happens to it: looking back to the last one is enough.
        """
        if not before:
            return True
        anchor = max(first - 1, 0)
        while anchor and ids[anchor] not in self._tokenizer.added:
            anchor -= 1
        tail = before[_start(encoding, anchor) if anchor else 0 :]
        encode = self._tail_ids if len(tail) < 100 else self._ids
        return ids[anchor:first] == encode(tail)

    def _split(self, text: str, spans: Sequence[Span], number: int) -> tuple[list[int], list[Span]]:
        """Encode the text before a span and the text from there on each for itself."""
        at = spans[number][0]
        ids: list[int] = []
        found: list[Span] = []
        for piece, base, part in ((text[:at], 0, spans[:number]), (text[at:], at, spans[number:])):
            moved = [(start - base, end - base) for start, end in part]
            piece_ids, piece_found = self.cut(piece, moved, self._tokenizer.encode_spans([piece])[0])
            found += [(start + len(ids), end + len(ids)) for start, end in piece_found]
            ids = ids + piece_ids
        return ids, found

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode([text], special=False)[0]


def _token_at(encoding: tokenizers.Encoding, text: str, char: int) -> int:
    """The token that holds the character, or the first one after it (a normaliser may drop characters)."""
    for position in range(char, len(text)):
        token = encoding.char_to_token(position)
        if token is not None:
            return int(token)
    return len(encoding)


def _start(encoding: tokenizers.Encoding, token: int) -> int:
    """The first character of a token."""
    chars = encoding.token_to_chars(token)
    return chars[0] if chars else 0
