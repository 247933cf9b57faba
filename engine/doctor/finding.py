"""Finding: one thing that was looked at, whether it is right, and what mends it."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "warning", "fault"]
"""ok: right. note: worth knowing. warning: works, though not as well as it could. fault: something does not work."""
STATES: tuple[State, ...] = ("ok", "note", "warning", "fault")


@dataclass(frozen=True)
class Finding:
    """One result. `name` is stable, for scripts and reports: `torch-without-cuda`."""

    name: str
    state: State
    text: str
    """What was seen, in a line."""
    fix: str = ""
    """The command that mends it, or what to do where no command can."""


def ok(name: str, text: str) -> Finding:
    """Something that is as it should be."""
    return Finding(name, "ok", text)


def note(name: str, text: str, fix: str = "") -> Finding:
    """Something worth knowing, which hinders nothing."""
    return Finding(name, "note", text, fix)


def warning(name: str, text: str, fix: str) -> Finding:
    """Something that works, though not as well as it could."""
    return Finding(name, "warning", text, fix)


def fault(name: str, text: str, fix: str) -> Finding:
    """Something that does not work as it is."""
    return Finding(name, "fault", text, fix)
