"""Tokenizer of a model as GGUF has it: tokens, their kinds, merges or scores, and the tokens with a meaning."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from engine.errors import ModelError
from engine.export.gguf.pre_tokenizer import pre_tokenizer_name

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
SPACE = "▁"
"""How SentencePiece writes a space."""
ADDED_SCORE = -1000.0
"""Score of a token that no merge makes, as llama.cpp's own files have it."""


class Kind(IntEnum):
    """`tokenizer.ggml.token_type` (llama.cpp's llama_token_type)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, with what llama.cpp needs to cut a text into them."""

    model: str
    """`gpt2` for byte-level BPE, `llama` for SentencePiece's BPE."""
    pre: str
    tokens: Sequence[str]
    kinds: Sequence[int]
    merges: Sequence[str] = ()
    scores: Sequence[float] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    """Keys after `tokenizer.ggml.`."""


def vocabulary(tokenizer: Mapping[str, Any], rows: int, opens_with_token: bool = False) -> Vocabulary:
    """The vocabulary of a tokenizer.json, filled up to the rows of the embedding.

    `opens_with_token` says that conversations begin with an added token, and not with text. Raises
    ModelError where llama.cpp has no such tokenizer.
    """
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise ModelError(
            f"GGUF export knows tokenizers of type BPE, and this one is {model.get('type')}.",
            "Export it as merged, or as mlx.",
        )
    added = {int(token["id"]): token for token in tokenizer.get("added_tokens") or []}
    texts = {int(id_): text for text, id_ in model["vocab"].items()}
    texts |= {id_: str(token["content"]) for id_, token in added.items()}
    if max(texts) >= rows:
        raise ModelError(
            f"The tokenizer has a token {max(texts)}, and the embedding has only {rows} rows.",
            "Use the tokenizer that the model was trained with.",
        )
    tokens = [texts.get(id_, f"[PAD{id_}]") for id_ in range(rows)]
    if _byte_level(tokenizer):
        kinds = [_kind(id_, texts, added, "") for id_ in range(rows)]
        merges = [" ".join(_pair(merge)) for merge in model["merges"]]
        return Vocabulary("gpt2", pre_tokenizer_name(tokenizer), tokens, kinds, merges)
    if not model.get("byte_fallback"):
        raise ModelError(
            "GGUF export knows BPE of bytes, or with bytes for what is not in the vocabulary; this one is neither.",
            "Export it as merged, or as mlx.",
        )
    prefixed = _prefixes_space(tokenizer, opens_with_token)
    return replace(_sentencepiece(tokenizer, tokens, texts, added), more={"add_space_prefix": prefixed})


def _sentencepiece(
    tokenizer: Mapping[str, Any], tokens: list[str], texts: Mapping[int, str], added: Mapping[int, Any]
) -> Vocabulary:
    """A tokenizer that was SentencePiece's: llama.cpp merges by scores, the highest first.

    tokenizer.json has the merges in that order, so that a token's score is minus its place among what they make.
    """
    made: dict[str, int] = {}
    for merge in tokenizer["model"]["merges"]:
        made.setdefault("".join(_pair(merge)), len(made))
    kinds = [
        _kind(id_, texts, added, tokenizer["model"].get("unk_token") or "") for id_ in range(len(tokens))
    ]
    scores = [
        -float(made[text]) if text in made else 0.0 if kind == Kind.BYTE else ADDED_SCORE
        for text, kind in zip(tokens, kinds, strict=True)
    ]
    shown = [
        text.replace(SPACE, " ") if kind == Kind.USER_DEFINED else text
        for text, kind in zip(tokens, kinds, strict=True)
    ]
    return Vocabulary("llama", "default", shown, kinds, scores=scores)


def _kind(id_: int, texts: Mapping[int, str], added: Mapping[int, Any], unknown: str) -> int:
    if id_ not in texts:
        return Kind.UNUSED
    if unknown and texts[id_] == unknown:
        return Kind.UNKNOWN
    if id_ in added:
        return Kind.CONTROL if added[id_].get("special") else Kind.USER_DEFINED
    return Kind.BYTE if unknown and BYTE.fullmatch(texts[id_]) else Kind.NORMAL


def _byte_level(tokenizer: Mapping[str, Any]) -> bool:
    parts = [tokenizer.get("pre_tokenizer") or {}, tokenizer.get("decoder") or {}]
    parts += [part for whole in parts for part in whole.get("pretokenizers", []) + whole.get("decoders", [])]
    return any(part.get("type") == "ByteLevel" for part in parts)


def _prefixes_space(tokenizer: Mapping[str, Any], opens_with_token: bool) -> bool:
    """True if llama.cpp is to read every text as if it began with a space, also one behind an added token.

    A Metaspace of the scheme `first` does so where nothing is in front of the text, as never in a conversation that
    opens with an added token.
    """
    normalizer, pre = tokenizer.get("normalizer") or {}, tokenizer.get("pre_tokenizer") or {}
    parts = [normalizer, *normalizer.get("normalizers", [])]
    if any(part.get("type") == "Prepend" and part.get("prepend") == SPACE for part in parts):
        return True
    scheme = pre.get("prepend_scheme", "always") if pre.get("type") == "Metaspace" else "never"
    return scheme == "always" or (scheme == "first" and not opens_with_token)


def _pair(merge: Any) -> Sequence[str]:
    """A merge as tokenizers writes it: two texts, or in older files one with a space between them."""
    return merge.split(" ") if isinstance(merge, str) else merge
