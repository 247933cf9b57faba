"""Sampling settings from programs, commands and screens, with one check for all of them."""

import dataclasses
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from engine.data.types import Sampling
from engine.errors import ConfigError

RANGES: Mapping[str, tuple[float, float]] = {
    "max_tokens": (1, math.inf),
    "temperature": (0, 100),
    "seed": (0, 2**64 - 1),
    "top_p": (0, 1),
    "top_k": (0, math.inf),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
}
"""Least and greatest value of each number."""


def sampling_of(given: Mapping[str, Any]) -> Sampling:
    """Settings by name; those left out, or None, are as by default. Raises ConfigError."""
    known = {field.name: type(field.default) for field in dataclasses.fields(Sampling)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise ConfigError(f"There is no setting {name} of sampling.", f"There are {', '.join(known)}.")
        if value is not None:
            values[name] = _stops(value) if name == "stop" else _number(name, known[name], value)
    return Sampling(**values)


def setting(line: str) -> tuple[str, int | float]:
    """Name and value of a number that a person sets, as `top-p 0.9`. Raises ConfigError."""
    name, _, text = line.strip().partition(" ")
    name = name.replace("-", "_")
    if name not in RANGES:
        raise ConfigError(f"There is no setting {name!r} to change.", f"There are {', '.join(RANGES)}.")
    value: int | float | str = text.strip()
    for kind in (float, int):  # an int stays one
        with suppress(ValueError):
            value = kind(text)
    return name, getattr(sampling_of({name: value}), name)


def _number(name: str, kind: type, value: Any) -> int | float:
    least, most = RANGES[name]
    wanted = "a whole number" if kind is int else "a number"
    fits = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if not fits or not least <= value <= most:
        limits = f"from {least:g}" + (f" to {most:g}" if math.isfinite(most) else " on")
        raise ConfigError(f"{name} is {value!r}.", f"It is {wanted} {limits}.")
    number: int | float = kind(value)
    return number


def _stops(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(text, str) and text for text in texts):
        raise ConfigError(f"stop is {value!r}.", "It is a text, or a list of texts, none of them empty.")
    return texts
