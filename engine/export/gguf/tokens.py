"""Proof of an exported vocabulary: a page of nasty text, encoded by the model's tokenizer and by llama.cpp."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data.tokenization.tokenizer import Tokenizer
from engine.export.gguf.llama_cpp_tokens import llama_cpp_tokens
from engine.export.gguf.nasty_text import LINES


@dataclass(frozen=True)
class Difference:
    """A text that llama.cpp cuts otherwise."""

    text: str
    ours: Sequence[int]
    """Ids by the model's own tokenizer."""
    theirs: Sequence[int]
    """Ids by llama.cpp."""
    composed: bool
    """True if it is only that llama.cpp does not compose letters and their marks (NFC) as this tokenizer does: both
    agree on the composed text."""


def differences(file: Path, tokenizer: Tokenizer, more: Sequence[str] = ()) -> list[Difference]:
    """The lines of the page, added tokens among words, and `more` texts (as rendered prompts) that are cut otherwise.

    Raises MachineError where xllamacpp is not installed, ModelError where llama.cpp does not load the file.
    """
    around = [f"a{text}b" for text in tokenizer.added.values()] + [
        f" {text} \n" for text in tokenizer.added.values()
    ]
    texts = [*LINES, *around[:MOST_ADDED], *more]
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    ours = tokenizer.encode([*texts, *composed], special=False)
    theirs = llama_cpp_tokens(file, [*texts, *composed])
    return [
        Difference(text, ours[at], theirs[at], ours[at + len(texts)] == theirs[at + len(texts)])
        for at, text in enumerate(texts)
        if ours[at] != theirs[at]
    ]


MOST_ADDED = 512
"""Texts of added tokens at most: some models have thousands that are not used."""
