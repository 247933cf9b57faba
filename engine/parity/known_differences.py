"""Differences between tokenizers that come of the program that reads them, and of no fault in what was exported."""

import unicodedata
from collections.abc import Callable

Ids = list[int]
Encode = Callable[[str], Ids]


def reason(text: str, ours: Encode, theirs: Encode) -> str:
    """The reason for which a program cuts a text otherwise than the model's tokenizer; empty where none is known.

    llama.cpp does not compose letters and marks (NFC), as Qwen's tokenizers do, and its patterns for GPT-4o's and
    Mistral Nemo's take marks for no part of a word. Both agree on such a text once it is composed, or has no marks: a
    wrong pre-tokenizer would show on other texts.
    """
    wanted = ours(text)
    _, composed, bare = variants(text)
    if composed != text and wanted == ours(composed) == theirs(composed):
        return "it does not compose letters and marks (NFC)"
    if bare != text and ours(bare) == theirs(bare):
        return "it takes marks for no part of a word"
    return ""


def variants(text: str) -> tuple[str, str, str]:
    """A text, the same composed (NFC), and the same without its marks."""
    bare = "".join(letter for letter in text if not unicodedata.category(letter).startswith("M"))
    return text, unicodedata.normalize("NFC", text), bare
