"""Memory pressure as the system reports it: macOS's level, Linux's stalls."""

import platform
import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from engine.hardware.apple import PRESSURES, ask
from engine.hardware.memory import CGROUPS, OWN_GROUP

STALLED = 5.0
"""Percent of the last 10 s that counts: the thresholds of GLib's GMemoryMonitor, 100 ms of every 2 s. Some process
stalled so long is a warning, all processes at the same time is critical."""
SYSTEM = Path("/proc/pressure/memory")


class Level(IntEnum):
    """Severity, in macOS's words."""

    NORMAL = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True)
class Pressure:
    """A level, and what it was read from, in words."""

    level: Level
    evidence: str


def pressure(system: Path = SYSTEM, own_group: Path = OWN_GROUP, root: Path = CGROUPS) -> Pressure | None:
    """The pressure now; None where the system does not tell.

    On Linux that of this process's own control group goes before that of the whole system: it counts stalls for the
    group's limit, and not those of strangers in a container beside this one.
    """
    if platform.system() == "Darwin":
        return of_macos(ask("sysctl", "-n", "kern.memorystatus_vm_pressure_level"))
    for file in (*_group_files(own_group, root), system):
        try:
            return of_linux(file.read_text(encoding="ascii"))
        except (OSError, ValueError):  # a kernel without PSI, or with it turned off
            continue
    return None


def of_macos(text: str) -> Pressure | None:
    """Level from `kern.memorystatus_vm_pressure_level`."""
    word = PRESSURES.get(text.strip())
    return None if word is None else Pressure(Level[word.upper()], f"macOS calls the memory pressure {word}")


def of_linux(text: str) -> Pressure:
    """Pressure stall information (docs.kernel.org/accounting/psi.html). Raises ValueError where it is none."""
    shares = {line: float(share) for line, share in re.findall(r"^(some|full) avg10=([\d.]+)", text, re.M)}
    if "some" not in shares:
        raise ValueError("no pressure stall information")
    some, full = shares["some"], shares.get("full", 0.0)
    evidence = f"programs waited for memory in {some:.0f}% of the last 10 s"
    if full >= STALLED:
        return Pressure(Level.CRITICAL, f"{evidence}, and in {full:.0f}% all of them at the same time")
    return Pressure(Level.WARNING if some >= STALLED else Level.NORMAL, evidence)


def _group_files(own_group: Path, root: Path) -> list[Path]:
    """Files with the stalls of the own group: control groups v2, alone or beside v1. The root's are the system's."""
    try:
        lines = own_group.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    groups = [line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")]
    places = [base / group for group in groups if group for base in (root, root / "unified")]
    return [place / "memory.pressure" for place in places]
