"""A recipe's text out of what was found: keys in the order of the schema, each with where it comes from."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from engine.config.migration.report import Changed, Entry, Implied, Taken, Unmatched
from engine.config.sections import Recipe
from engine.config.yaml_writer import inline
from engine.methods import OWN
from engine.redaction import redacted
from engine.text import printable

WIDTH = 110
COMMENT = 100
"""Characters of a comment beside a key at most."""
MISSING: Mapping[str, tuple[str, str]] = {
    "model.base": ("starter", "not said there: put your model"),
    "data.train": ("rows.jsonl", "not said there: put your file"),
}
"""Keys that a recipe must have, what stands in where the file does not say them, and the comment."""


def recipe_text(tool: str, source: str, entries: Sequence[Entry]) -> str:
    """The commented recipe."""
    values = {one.key: (one.value, _comment(tool, one)) for one in entries if not isinstance(one, Unmatched)}
    values = {key: values.get(key, stands_in) for key, stands_in in MISSING.items()} | values
    lines = [f"# From {_line(source)}, a configuration of {tool}, by ft init --from.", ""]
    for name in _sections():
        inside = {key.partition(".")[2]: said for key, said in values.items() if key.startswith(f"{name}.")}
        if inside:
            lines += [f"{name}:", *_section(inside), ""]
        elif name in values:
            lines += [*_aligned({name: values[name]}, ""), ""]
    return "\n".join([*lines, *_unmatched(tool, entries)]).rstrip() + "\n"


def _sections() -> list[str]:
    """A recipe's sections in order: those of the methods stand behind the one that chooses among them."""
    names = [*Recipe.model_fields]
    after = names.index("training") + 1
    return [*names[:after], *OWN, *names[after:]]


def shown(value: Any, most: int = 60) -> str:
    """A value of the file in one line, without secrets and of bounded length."""
    text = _line(redacted(value if isinstance(value, str) else inline(value)))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def pairs(source: Mapping[str, Any]) -> str:
    """`key: value` of each key of the file; what may be a secret shows its key alone."""
    return ", ".join(
        _line(key) if _is_secret(key) else f"{_line(key)}: {shown(value)}" for key, value in source.items()
    )


def _is_secret(key: str) -> bool:
    words = ("token", "api_key", "secret", "password")
    return any(key.lower().endswith(word) for word in words)


def _comment(tool: str, one: Taken | Implied) -> str:
    if isinstance(one, Implied):
        return f"{tool}'s default" + (f": {one.why}" if one.why else "")
    keys = ", ".join(map(_line, one.source))
    return f"{keys}: {_first_clause(one.why)}" if isinstance(one, Changed) else keys


def _first_clause(why: str) -> str:
    return why.partition(". ")[0].partition("; ")[0]


def _section(inside: Mapping[str, tuple[Any, str]]) -> list[str]:
    return _aligned(inside, "  ")


def _aligned(keys: Mapping[str, tuple[Any, str]], indent: str) -> list[str]:
    """Keys with their comments behind them, in one column where the values are short."""
    blocks = [(_written(key, value, indent), comment) for key, (value, comment) in keys.items()]
    column = max((len(lines[0]) for lines, _ in blocks if len(lines) == 1 and len(lines[0]) < 44), default=0)
    found: list[str] = []
    for lines, comment in blocks:
        text = _line(comment)
        text = text if len(text) <= COMMENT else f"{text[: COMMENT - 1]}…"
        found += [f"{lines[0]:<{column}}  # {text}", *lines[1:]]
    return found


def _written(key: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return [f"{indent}{key}:", *(f"{indent}  - {inline(one)}" for one in value)]
    return [f"{indent}{key}: {inline(value)}"]


def _unmatched(tool: str, entries: Sequence[Entry]) -> list[str]:
    """What has no equal, as a comment at the end."""
    lines = []
    for keys, why, instead in grouped([one for one in entries if isinstance(one, Unmatched)]):
        if instead == "nothing":
            continue
        text = f"{keys}: {why}" if keys else why
        text = f"{text}; here: {instead}" if instead else text
        lines += textwrap.wrap(
            _line(text), WIDTH, initial_indent="#   ", subsequent_indent="#     ", break_on_hyphens=False
        )
    return [f"# No equal of {tool}'s:", *lines] if lines else []


def grouped(unmatched: Sequence[Unmatched], values: bool = False) -> list[tuple[str, str, str]]:
    """Keys (with their `values`), reason and consequence; keys with the same reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in unmatched:
        keys = pairs(one.source) if values else ", ".join(map(_line, one.source))
        found.setdefault((one.why, one.instead), []).append(keys)
    return [(", ".join(filter(None, keys)), why, instead) for (why, instead), keys in found.items()]


def _line(text: str) -> str:
    return " ".join(printable(text).split())
