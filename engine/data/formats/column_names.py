"""Common column names, for hints about which column is probably meant."""

import json
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

QUESTIONS = ("question", "query", "problem", "instruction", "input", "user", "prompt", "request", "human")
ANSWERS = ("answer", "response", "output", "solution", "completion", "reply", "target", "assistant", "gpt")
SYSTEMS = ("system", "system_prompt", "system_message", "instructions")
INPUTS = ("input", "context", "passage")
_ALPACA: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"instruction": QUESTIONS, "output": ANSWERS, "input": INPUTS, "system": SYSTEMS}
)
_PLAIN = re.compile(r"[A-Za-z_][\w.-]*")


def question_and_answer(columns: Iterable[str]) -> dict[str, str]:
    """Map alpaca's columns to columns of the file that seem to hold the same under other names.

    Empty if no question or no answer is found. Each column is used once.
    """
    left = {name.strip().lower(): name for name in columns}
    found: dict[str, str] = {}
    for ours, names in _ALPACA.items():
        if (name := next(filter(left.__contains__, names), None)) is not None:
            found[ours] = left.pop(name)
    if not {"instruction", "output"} <= found.keys():
        return {}
    return {ours: theirs for ours, theirs in found.items() if ours != theirs}


def as_yaml(mapping: Mapping[str, str]) -> str:
    """Write a mapping of names as YAML, for a recipe or `--set`."""
    return "{" + ", ".join(f"{_word(key)}: {_word(value)}" for key, value in mapping.items()) + "}"


def _word(name: str) -> str:
    plain = _PLAIN.fullmatch(name) and name.lower() not in ("null", "true", "false", "yes", "no", "on", "off")
    return name if plain else json.dumps(name, ensure_ascii=False)
