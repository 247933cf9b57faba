"""Name of a byte-level tokenizer's pre-tokenizer in llama.cpp, found by its structure in tokenizer.json."""

from collections.abc import Mapping
from typing import Any

from engine.errors import ModelError

DIGITS = r"\p{N}"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The expression of ByteLevel(use_regex=True), which tokenizers has built in."""
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + _REST
QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + _REST
QWEN35 = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_START, _PUNCTUATION = r"[^\r\n\p{L}\p{N}]?", r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = (
    f"{_START}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_START}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}|{_PUNCTUATION}"
)
TEKKEN = rf"{_START}{_UPPER}*{_LOWER}+|{_START}{_UPPER}+{_LOWER}*|\p{{N}}|{_PUNCTUATION}"
NAMES: Mapping[tuple[tuple[str, ...], bool], str] = {
    ((GPT2,), False): "gpt-2",
    ((DIGITS, GPT2), False): "smollm",
    ((LLAMA3,), True): "llama-bpe",
    ((LLAMA3,), False): "dbrx",
    ((QWEN2,), False): "qwen2",
    ((QWEN35,), False): "qwen35",
    ((TEKKEN,), True): "tekken",
    ((GPT4O,), False): "gpt-4o",
}
"""By the expressions that cut a text, one after the other, and whether a piece that is in the vocabulary is taken
whole, whatever the merges say (`ignore_merges`)."""


def pre_tokenizer_name(tokenizer: Mapping[str, Any]) -> str:
    """The value of `tokenizer.ggml.pre` for a tokenizer.json.

    Raises ModelError where llama.cpp has no pre-tokenizer that cuts a text so.
    """
    cuts = tuple(_expressions(tokenizer.get("pre_tokenizer") or {}))
    name = NAMES.get((cuts, bool(tokenizer["model"].get("ignore_merges"))))
    if name is None:
        shown = " then ".join(cuts) or "no expression"
        raise ModelError(
            f"llama.cpp has no pre-tokenizer that ft knows to cut a text as this tokenizer does: by {shown}.",
            "Export it as merged, or as mlx.",
        )
    return name


def _expressions(pre: Mapping[str, Any]) -> list[str]:
    """Expressions by which a pre-tokenizer cuts; a part that it has and that is not understood is named by its type."""
    match pre.get("type"):
        case "Sequence":
            return [cut for part in pre["pretokenizers"] for cut in _expressions(part)]
        case "ByteLevel" if not pre.get("add_prefix_space"):
            return [GPT2] if pre.get("use_regex", True) else []
        case "Digits" if pre.get("individual_digits"):
            return [DIGITS]
        case "Split" if pre.get("behavior") == "Isolated" and not pre.get("invert"):
            return [_as_expression(pre["pattern"])]
    return [f"({pre.get('type')} {dict(pre)})"]


def _as_expression(pattern: Mapping[str, str]) -> str:
    written = pattern.get("Regex", str(pattern))
    return DIGITS if written in (r"\p{N}", r"[0-9]", r"\d") else written
