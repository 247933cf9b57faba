"""The cleaning that ft does by itself, where a person has told it to: after a training, by the usual policy.

The choice is in `storage.json` under FT_HOME, which the engine, the command line and the app read.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from engine import paths
from engine.errors import FtError
from engine.housekeeping.clean import clean
from engine.housekeeping.policy import DAY_S, Policy
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining
from engine.storage.regular_files import read_text
from engine.units import size

FILE = "storage.json"
When = Literal["off", "after_training"]
WHEN: tuple[When, ...] = get_args(When)


@dataclass(frozen=True)
class Automatic:
    """When ft cleans by itself, and the age in days from which things are old enough."""

    when: When = "off"
    older_than_days: float = 30.0


def load() -> Automatic:
    """The choice on disk. A file that is missing, damaged or says something unknown means `off`."""
    try:
        values = json.loads(read_text(paths.home() / FILE))
        when, days = values["automatic_clean"], values.get("older_than_days", Automatic.older_than_days)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Automatic()
    known = isinstance(days, int | float) and not isinstance(days, bool) and days >= 0
    return Automatic(when, float(days)) if when in WHEN and known else Automatic()


def save(automatic: Automatic) -> None:
    """Write the choice down. Raises MachineError where the folder cannot be written."""
    body = {"automatic_clean": automatic.when, "older_than_days": automatic.older_than_days}
    with explaining():
        paths.home().mkdir(parents=True, exist_ok=True)
        write_atomic(paths.home() / FILE, json.dumps(body, indent=2) + "\n")


def clean_after_training(note: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Clean if a person has chosen so: `note` is told what was freed, `warn` what could not be. Never raises."""
    chosen = load()
    if chosen.when != "after_training":
        return
    try:
        outcomes = clean(Policy(older_than_s=chosen.older_than_days * DAY_S))
    except (FtError, OSError, ValueError) as error:
        warn(f"Cleaning up failed: {error}")
        return
    freed = [one.removal.bytes for one in outcomes if one.state == "removed"]
    if freed:
        note(f"cleaned up: {len(freed)} removed, {size(sum(freed))} freed")
    for one in (one for one in outcomes if one.state == "failed"):
        warn(f"{one.removal.name} could not be removed: {one.why}")
