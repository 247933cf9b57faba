"""Answers held to JSON, or to a JSON Schema: masks of the tokens that may come next, by llguidance."""

import json
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.types import Float32
from engine.errors import ModelError

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


class Grammars:
    """The tokens of one model, as llguidance knows them."""

    def __init__(self, folder: Path, stops: Collection[int]) -> None:
        self._folder, self._stops = folder, sorted(stops)

    @cached_property
    def _tokens(self) -> Any:
        from llguidance import LLTokenizer

        path = self._folder / "tokenizer.json"
        try:
            return LLTokenizer(path.read_text(encoding="utf-8"), eos_token=self._stops)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: not usable for response_format: {error}") from error

    def of_schema(self, schema: Mapping[str, Any]) -> str:
        """The grammar of a JSON Schema. Raises ValueError for one that cannot be followed."""
        from llguidance import LLMatcher

        try:
            grammar: str = LLMatcher.grammar_from_json_schema(json.dumps(schema))
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if problem := LLMatcher.validate_grammar(grammar, self._tokens):
            raise ValueError(problem.splitlines()[0])
        return grammar

    def matcher(self, grammar: str) -> "Matcher":
        """What follows one answer along a grammar."""
        from llguidance import LLMatcher

        return Matcher(LLMatcher(self._tokens, grammar))


class Matcher:
    """Follows one answer."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self, logits: Float32) -> Float32:
        """The logits, -inf where a token may not come next. Raises ModelError where the grammar takes too much."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        mask = np.unpackbits(bits, bitorder="little")[: len(logits)].astype(bool)
        found = np.full_like(logits, -np.inf)
        found[: len(mask)][mask] = logits[: len(mask)][mask]
        return found

    def take(self, token: int) -> None:
        """Go on by a token that was allowed. Raises ModelError where the grammar takes too much."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ModelError(f"The schema cannot be followed: {self._matcher.get_error().splitlines()[0]}")
