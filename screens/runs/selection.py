"""The selected runs, each with a number and a colour that table and chart share."""

from collections.abc import Iterable, Mapping, Sequence

from engine.runs.index.summary import RunSummary
from screens.themes import SERIES

NUMBERS = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳"
"""Marks of selected runs, in table and chart; as many are drawn. Colours come again after eight, marks do not."""
SLOTS = len(NUMBERS)


def colour_of(slot: int) -> str:
    """The colour of the selected run that has this number, from 0."""
    return SERIES[slot % len(SERIES)]


class Selection:
    """Selected runs by id. A run keeps its number while it is selected; the lowest free one is given next."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}

    @property
    def slots(self) -> Mapping[str, int]:
        """Numbers from 0 by run id."""
        return self._slots

    def toggle(self, run_id: str) -> None:
        """Select a run, or no longer."""
        if run_id in self._slots:
            del self._slots[run_id]
        else:
            used = set(self._slots.values())
            self._slots[run_id] = next(slot for slot in range(len(used) + 1) if slot not in used)

    def drop(self, run_ids: Iterable[str]) -> None:
        """Select these no longer."""
        for run_id in run_ids:
            self._slots.pop(run_id, None)

    def clear(self) -> None:
        """Select none."""
        self._slots.clear()

    def among(self, runs: Sequence[RunSummary]) -> list[tuple[RunSummary, int]]:
        """Those of the runs that are selected, with their numbers, lowest first."""
        found = [(run, self._slots[run.id]) for run in runs if run.id in self._slots]
        return sorted(found, key=lambda pair: pair[1])
