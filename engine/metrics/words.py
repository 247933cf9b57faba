"""Words of a text in any script, for metrics that compare words."""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x20000, 0x3FFFF),  # Han, further extensions
)
"""First and last code point of each block whose scripts put no space between words: a character is a word there."""


def _unspaced(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in UNSPACED)


@lru_cache(maxsize=1024)
def words(text: str) -> tuple[str, ...]:
    """Words of a text, without case and punctuation; of scripts without spaces, each character with its marks."""
    found: list[str] = []
    ended = True
    for character in unicodedata.normalize("NFKC", text).casefold():
        kind = unicodedata.category(character)[0]
        if kind not in "LNM":
            ended = True
        elif kind == "M" and found and not ended:
            found[-1] += character
        elif ended or _unspaced(character) or _unspaced(found[-1][0]):
            found.append(character)
            ended = False
        else:
            found[-1] += character
    return tuple(found)


def unspaced_share(texts: Iterable[str]) -> float:
    """Share of letters that are of scripts without spaces between words, 0 to 1."""
    letters = unspaced = 0
    for text in texts:
        for character in text:
            if character.isalpha():
                letters += 1
                unspaced += _unspaced(character)
    return unspaced / letters if letters else 0.0
