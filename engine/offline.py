"""Whether the network may be used: `--offline` and FT_OFFLINE forbid all of it, HF_HUB_OFFLINE the hub."""

import os

ALL = "FT_OFFLINE"
"""Set by `--offline`, and inherited by every process that ft starts."""
HUB = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables that the hub's client obeys."""
TRUE = frozenset({"1", "ON", "YES", "TRUE"})


def forbid() -> None:
    """Forbid this process and its children the network; before the hub's client is imported, which looks once."""
    os.environ[ALL] = os.environ[HUB[0]] = "1"


def everywhere() -> bool:
    """True where nothing at all may be fetched."""
    return _is_set(ALL)


def from_hub() -> bool:
    """True where nothing may be fetched from the hub."""
    return everywhere() or any(map(_is_set, HUB))


def variable() -> str:
    """What forbids it, for people: `--offline` or the variable that is set."""
    return "--offline" if everywhere() else next((name for name in HUB if _is_set(name)), HUB[0])


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").upper() in TRUE
