"""Spans of characters → spans of tokens, cut exactly there.

The ids before an answer are those that the model will be given as a prompt. Where a token would straddle the boundary,
the text is encoded in two pieces.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import tokenizers

from engine.data.tokenization.chat_template import Span
from engine.data.tokenization.tokenizer import Tokenizer

MANY = 64
"""Spans from which looking for the tokens of each through all of them would take their number squared."""


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
        ids, tokens = encoding.ids, _Tokens(encoding, many=len(spans) > MANY)
        found = []
        for number, (start, end) in enumerate(spans):
            first, last = tokens.at(text, start), tokens.at(text, end)
            if first < len(ids) and ids[first] in self._tokenizer.added and tokens.start(first) < start:
                first += 1  # it has swallowed the white space with which the answer begins
            if last and last < len(ids) and tokens.start(last) < end:
                last += 1  # it began inside the span, so the model writes it
            found.append((first, last))
            if not self._parts(ids, text, start, tokens, first):
                split = self._split(text, spans, number)
                if self._tokenizer.decode(split[0], False) == self._tokenizer.decode(ids, False):
                    return split
                # A tokenizer that puts a space before every text cannot continue one: the token stays whole.
        return ids, found

    def _parts(self, ids: list[int], text: str, start: int, tokens: "_Tokens", first: int) -> bool:
        """True where the ids before `first` are those of the text before `start`, encoded alone.

        Special tokens part a text before anything else happens to it: looking back to the last one is enough.
        """
        if not start:
            return True
        anchor = max(first - 1, 0)
        while anchor and ids[anchor] not in self._tokenizer.added:
            anchor -= 1
        tail = text[tokens.start(anchor) if anchor else 0 : start]
        encode = self._tail_ids if len(tail) < 100 else self._ids
        return ids[anchor:first] == encode(tail)

    def _split(self, text: str, spans: Sequence[Span], number: int) -> tuple[list[int], list[Span]]:
        """Encode the text before a span and the text from there on each for itself.

        Of many spans, each with the text up to the next one: those after this one are likely to need it too.
        """
        starts = [start for start, _ in spans] if len(spans) > MANY else [spans[number][0]]
        ids: list[int] = []
        found: list[Span] = []
        for base, end in pairwise([0, *starts, len(text)]):
            own = (
                [(start - base, stop - base) for start, stop in spans if base <= start < end]
                if base < end
                else []
            )
            piece = text[base:end]
            piece_ids, piece_found = self.cut(piece, own, self._tokenizer.encode_spans([piece])[0])
            found += [(start + len(ids), stop + len(ids)) for start, stop in piece_found]
            ids += piece_ids
        return ids, found

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode([text], special=False)[0]


class _Tokens:
    """Positions of the tokens of a text. For few spans the encoding is asked, which searches all tokens each time."""

    def __init__(self, encoding: tokenizers.Encoding, many: bool) -> None:
        self._encoding = encoding
        self._count = len(encoding)
        self._ends = [end for _, end in encoding.offsets] if many else None

    def at(self, text: str, char: int) -> int:
        """The token that holds the character, or the first one after it (a normaliser may drop characters)."""
        if self._ends is not None:
            # The first that ends behind it: an offset of nothing, where a normaliser added a character, never does.
            return bisect_right(self._ends, char)
        for position in range(char, len(text)):
            token = self._encoding.char_to_token(position)
            if token is not None:
                return int(token)
        return self._count

    def start(self, token: int) -> int:
        """The first character of a token."""
        chars = self._encoding.token_to_chars(token)
        return chars[0] if chars else 0
