"""The tokens of a row with the text that each adds."""

from collections.abc import Iterator, Sequence

from engine.data.preview.values import SHOWN, TokenText
from engine.data.tokenization.row_encoder import Encoded
from engine.data.tokenization.tokenizer import Tokenizer

UNFINISHED = "\ufffd"
"""Decoded text of a character whose other bytes are in the next token."""


def token_texts_of(examples: Sequence[Encoded], tokenizer: Tokenizer, limit: int) -> Iterator[TokenText]:
    """The tokens of a row's examples, one after the other, at most `SHOWN` of them in all."""
    left = SHOWN
    for number, encoded in enumerate(examples, start=1):
        if left <= 0:
            return
        if number > 1:
            words = (
                "the rejected answer" if encoded.sign else f"example {number} of {len(examples)} of this row"
            )
            yield TokenText(words, trained=False, special=False, cut=False, tokens=0)
        yield from token_texts(encoded, tokenizer, limit, left)
        left -= len(encoded.ids)


def token_texts(encoded: Encoded, tokenizer: Tokenizer, limit: int, most: int = SHOWN) -> Iterator[TokenText]:
    """The tokens with the text that each adds, at most `most` of them.

    A token is decoded behind the one before it, as some tokenizers drop a text's first space. Tokens that hold
    parts of one character are put together, but never over a boundary of special, trained or cut.
    """
    ids = encoded.ids[:most]
    trained = [False] * len(ids)
    for start, end in encoded.spans:
        for place in range(start, min(end, len(ids))):
            trained[place] = True
    kinds = [(trained[place], id_ in tokenizer.added, place >= limit) for place, id_ in enumerate(ids)]
    start = 0
    while start < len(ids):
        end = start + 1
        text = _text(ids, start, end, tokenizer)
        while text.endswith(UNFINISHED) and end < len(ids) and end < start + 4 and kinds[end] == kinds[start]:
            end += 1
            text = _text(ids, start, end, tokenizer)
        yield TokenText(text, *kinds[start], tokens=end - start)
        start = end


def _text(ids: Sequence[int], start: int, end: int, tokenizer: Tokenizer) -> str:
    if not start or ids[start] in tokenizer.added:
        return tokenizer.decode(ids[start:end], skip_special=False)
    before = tokenizer.decode(ids[start - 1 : start], skip_special=False)
    both = tokenizer.decode(ids[start - 1 : end], skip_special=False)
    return both[len(before) :] if both.startswith(before) else tokenizer.decode(ids[start:end], False)
