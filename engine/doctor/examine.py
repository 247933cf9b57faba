"""All checks in the order in which a person reads them; none changes anything."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from engine.doctor import access, environment, folders, machine, packages, terminal
from engine.doctor.finding import STATES, Finding, State, fault
from engine.hardware.probe import probe


@dataclass(frozen=True)
class Report:
    """Findings by area, in reading order."""

    areas: Mapping[str, tuple[Finding, ...]]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Warnings and faults, the faults first."""
        found = [one for area in self.areas.values() for one in area if one.state in ("warning", "fault")]
        return tuple(sorted(found, key=lambda one: -STATES.index(one.state)))

    def count(self, state: State) -> int:
        """Number of findings of one state."""
        return sum(one.state == state for area in self.areas.values() for one in area)

    def to_json(self) -> dict[str, Any]:
        """Plain data: a list of findings for each area."""
        return {name: [asdict(one) for one in area] for name, area in self.areas.items()}


def examine() -> Report:
    """Look at everything: below two seconds, of which the hub may take most while the others go on."""
    here = probe()
    with ThreadPoolExecutor(1) as beside:
        hub = beside.submit(_looked, "the hub", access.hub)
        areas = {
            "machine": _looked("the machine", partial(machine.findings, here)),
            "packages": _looked("packages", partial(packages.findings, here)),
            "folders": _looked("folders", folders.findings),
            "environment": _looked("the environment", environment.findings),
            "terminal": _looked("the terminal", terminal.findings),
            "tokens": _looked("tokens", access.keyring),
        }
        return Report(areas | {"hub": hub.result()})


def _looked(what: str, check: Callable[[], Iterable[Finding]]) -> tuple[Finding, ...]:
    """Results of a check; one that breaks is a finding too, and hides no other area."""
    return tuple(_until_it_breaks(what, check))


def _until_it_breaks(what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # a machine that is broken in a way nobody thought of is what this is for
        yield fault(
            "check-broken",
            f"The check of {what} broke off: {type(error).__name__}: {error}",
            "Please report it with the file that ft doctor --bundle writes.",
        )
