"""Proof of an exported vocabulary: a page of nasty text, encoded by the model's tokenizer and by llama.cpp."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data.tokenization.tokenizer import Tokenizer
from engine.export.gguf.llama_cpp_tokens import llama_cpp_tokens
from engine.export.gguf.nasty_text import LINES
from engine.export.gguf.tokenizer_keys import question

Ids = list[int]
MOST_ADDED = 256
"""Added tokens at most: some models have thousands that are not used."""


@dataclass(frozen=True)
class Difference:
    """A text that llama.cpp cuts otherwise."""

    text: str
    ours: Ids
    """Ids by the model's own tokenizer."""
    theirs: Ids
    """Ids by llama.cpp."""
    reason: str
    """What llama.cpp does not do that explains it: both agree on the text as changed by it. Empty for a fault of the
    file, as a wrong pre-tokenizer."""


def differences(file: Path, tokenizer: Tokenizer, more: Sequence[str] = ()) -> list[Difference]:
    """The lines of the page, added tokens among words, and `more` texts (as rendered prompts) that are cut otherwise.

    The lines stand behind the token with which conversations open, where they open with one. Raises
    MachineError where xllamacpp is not installed, ModelError where llama.cpp does not load the file.
    """
    added = list(tokenizer.added.values())[:MOST_ADDED]
    lead = tokenizer.added.get(question(tokenizer)[0], "") if question(tokenizer) else ""
    texts = [*(lead + line for line in LINES), *(f"{lead}a{text}b {text} \n" for text in added), *more]
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    bare = [_without_marks(text) for text in texts]
    asked = [*texts, *composed, *bare]
    pairs = list(zip(tokenizer.encode(asked, special=False), llama_cpp_tokens(file, asked), strict=True))
    count = len(texts)
    found = []
    for text, (ours, theirs), as_composed, as_bare in zip(
        texts, pairs[:count], pairs[count : 2 * count], pairs[2 * count :], strict=True
    ):
        if ours != theirs:
            found.append(Difference(text, ours, theirs, _reason(ours, as_composed, as_bare)))
    return found


def _reason(ours: Ids, as_composed: tuple[Ids, Ids], as_bare: tuple[Ids, Ids]) -> str:
    """The reason of a difference, from both tokenizers' ids of the text composed, and without its marks."""
    if as_composed == (ours, ours):
        return "llama.cpp does not compose letters and marks (NFC), as this tokenizer does"
    if as_bare[0] == as_bare[1]:
        return "llama.cpp's pre-tokenizer takes marks for no part of a word, and this tokenizer does"
    return ""


def _without_marks(text: str) -> str:
    return "".join(character for character in text if not unicodedata.category(character).startswith("M"))
