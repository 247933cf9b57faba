"""What a person has set for the app: one small file, `settings.json` under FT_HOME."""

import json
from dataclasses import asdict, dataclass, field, fields

from engine import paths
from engine.runs.atomic import write_atomic
from engine.runs.disk import explaining

FILE = "settings.json"


@dataclass(frozen=True)
class Preferences:
    """Defaults hold for what the file does not say, and for values in it that are of another type."""

    theme: str = "ft-dark"
    smoothing: float = 0.9
    """Weight of the past in the bright line of a chart, 0 to 1."""
    blocks: bool = False
    """Draw charts with block characters, for terminals without braille."""
    keys: dict[str, str] = field(default_factory=dict)
    """Keys by action id, where they differ from the table's."""


def load() -> Preferences:
    """The preferences on disk; a file that is missing or damaged is as none."""
    try:
        values = json.loads((paths.home() / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Preferences()
    defaults = Preferences()
    known = {f.name: type(getattr(defaults, f.name)) for f in fields(Preferences)}
    given = values if isinstance(values, dict) else {}
    return Preferences(**{k: v for k, v in given.items() if k in known and isinstance(v, known[k])})


def save(preferences: Preferences) -> None:
    """Write them. Raises MachineError where the folder cannot be written."""
    with explaining():
        paths.home().mkdir(parents=True, exist_ok=True)
        write_atomic(paths.home() / FILE, json.dumps(asdict(preferences), indent=2, sort_keys=True) + "\n")
