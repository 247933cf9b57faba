"""Proof of an exported vocabulary: a page of nasty text, encoded by the model's tokenizer and by llama.cpp."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data.tokenization.tokenizer import Tokenizer
from engine.export.gguf.llama_cpp_tokens import llama_cpp_tokens
from engine.export.gguf.nasty_text import LINES
from engine.parity.known_differences import reason, variants
from engine.parity.tokens import opening

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
    """What llama.cpp does not do that explains it (see `engine.parity.known_differences`). Empty for a fault of the
    file, as a wrong pre-tokenizer."""


def differences(file: Path, tokenizer: Tokenizer, more: Sequence[str] = ()) -> list[Difference]:
    """The lines of the page, added tokens among words, and `more` texts (as rendered prompts) that are cut otherwise.

    The lines stand behind the token with which conversations open, where they open with one. Raises
    MachineError where xllamacpp is not installed, ModelError where llama.cpp does not load the file.
    """
    added = list(tokenizer.added.values())[:MOST_ADDED]
    lead = opening(tokenizer)
    texts = [*(lead + line for line in LINES), *(f"{lead}a{text}b {text} \n" for text in added), *more]
    asked = list(dict.fromkeys(variant for text in texts for variant in variants(text)))
    theirs = dict(zip(asked, llama_cpp_tokens(file, asked), strict=True))

    def ours(text: str) -> Ids:
        return tokenizer.encode([text], special=False)[0]

    return [
        Difference(text, ours(text), theirs[text], reason(text, ours, theirs.__getitem__))
        for text in texts
        if ours(text) != theirs[text]
    ]
