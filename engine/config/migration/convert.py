"""Values of other trainers' files as plain numbers, switches and words."""

import math
from typing import Any

from engine.config.values import NO, YES


class Refused(ValueError):  # noqa: N818 - a value that has no equal, not a fault
    """A value that means nothing where it stands; the message says why."""


def same(value: Any) -> Any:
    """The value itself: the recipe's schema judges it."""
    return value


def number(value: Any) -> float | int:
    """A finite number, also one in quotes or as `1e-4`, which YAML 1.1 reads as text. Raises Refused."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Refused("it is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("it is not a number")
    try:
        if not math.isfinite(value):
            raise Refused("it is not a finite number")
    except OverflowError:
        raise Refused("it is too large") from None
    return value


def whole(value: Any) -> int:
    """A whole number. Raises Refused."""
    found = number(value)
    if found != int(found):
        raise Refused("it is not a whole number")
    if abs(found) > 2**53:
        raise Refused("it is too large")
    return int(found)


def real(value: Any) -> float:
    """A number with a fraction, which keys such as `adapter.alpha` have. Raises Refused."""
    return float(number(value))


def switch(value: Any) -> bool:
    """True or false, in words of YAML 1.1 too. Raises Refused."""
    word = value.lower() if isinstance(value, str) else None
    if isinstance(value, bool) or word in YES or word in NO:
        return value if isinstance(value, bool) else word in YES
    raise Refused("it is neither true nor false")


def words(value: Any) -> list[str]:
    """A list of words, also one written with commas. Raises Refused."""
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Refused("it is not a list of words")
    return [one.strip() for one in found if one.strip()]


def text(value: Any) -> str:
    """Text, or a number as text. Raises Refused."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Refused("it is not text")
    return str(value)


def dft(value: Any) -> str:
    """The loss that a switch for DFT asks for. Raises Refused."""
    return "dft" if switch(value) else "cross_entropy"


def is_off(value: Any) -> bool:
    """True for a value that switches its key off, or says nothing: false, no, none, zero, an empty list."""
    if isinstance(value, str):
        return value.strip().lower() in ("", "none", *NO)
    return not value
