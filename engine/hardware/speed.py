"""Speed of training as measured on this machine: a finished run leaves its figure for the next plan."""

import json
from pathlib import Path

from engine import paths
from engine.storage.atomic import write_atomic


def _file() -> Path:
    return paths.cache() / "speed.json"


def known() -> dict[str, float]:
    """FLOP/s reached by the last run, by `BackendSpec.speed_key`; empty before the first."""
    try:
        body = json.loads(_file().read_text())
    except (OSError, ValueError, RecursionError):  # a cache that cannot be read is one that is not there
        return {}
    if not isinstance(body, dict):
        return {}
    return {key: float(value) for key, value in body.items() if isinstance(value, int | float) and value > 0}


ENOUGH_FLOPS = 1e12
"""A smaller run tells of overheads and not of arithmetic: with its figure, a large model's plan was wrong by ten."""


def remember(under: str, flops: float, seconds: float) -> None:
    """Store what a finished run reached under its `BackendSpec.speed_key`; the newest counts.

    Raises OSError where it cannot be stored.
    """
    if flops < ENOUGH_FLOPS:
        return
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    body = known() | {under: flops / seconds}
    write_atomic(path, json.dumps(body, sort_keys=True))
