"""Preferences of the app: one small file, `settings.json` under FT_HOME."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from engine import paths
from engine.addresses import without_secrets
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining
from engine.storage.regular_files import read_text

FILE = "settings.json"


@dataclass(frozen=True)
class Preferences:
    """Defaults hold for what the file does not say, and for values in it that are of another type."""

    theme: str = "ft-dark"
    smoothing: float = 0.9
    """Weight of the past in the bright line of a chart, 0 to 1."""
    blocks: bool = False
    """Draw charts with block characters, for terminals without braille."""
    runs_filter: str = ""
    runs_order: str = "newest"
    """Filter and order of the list of runs as last used."""
    keys: dict[str, str] = field(default_factory=dict)
    """Keys by action id, where they differ from the table's."""
    datasets: list[str] = field(default_factory=list)
    """Files of rows that a person has added in Datasets, newest first."""


def load() -> Preferences:
    """The preferences on disk; a file that is missing or damaged is as none."""
    try:
        values = json.loads(read_text(paths.home() / FILE))
    except (OSError, ValueError, RecursionError):
        return Preferences()
    return replaced(Preferences(), values if isinstance(values, dict) else {})


def replaced(preferences: Preferences, values: Mapping[str, Any]) -> Preferences:
    """The preferences with other values; those that are unknown or of another type change nothing."""
    known = {f.name: getattr(preferences, f.name) for f in fields(Preferences)}
    fitting: dict[str, Any] = {}
    for name, value in values.items():
        if name == "keys" and isinstance(value, Mapping):
            fitting[name] = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, str)}
        elif name == "smoothing" and isinstance(value, int | float) and not isinstance(value, bool):
            fitting[name] = min(max(float(value), 0.0), 0.999)
        elif name in known and type(value) is type(known[name]):
            fitting[name] = value
    return replace(preferences, **fitting)


def save(changed: Mapping[str, Any]) -> None:
    """Write these values, and leave the others as they are on disk: another app may have set them meanwhile.

    Raises MachineError where the folder cannot be written.
    """
    whole, _ = without_secrets(asdict(replaced(load(), changed)))  # addresses of datasets may have passwords
    with explaining():
        paths.home().mkdir(parents=True, exist_ok=True)
        write_atomic(paths.home() / FILE, json.dumps(whole, indent=2, sort_keys=True) + "\n")
