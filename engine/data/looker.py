"""The lint beside the tokenising: it sees the rows as they come, and tells who watches what it knows so far."""

from collections.abc import Sequence
from dataclasses import replace

from engine.data.lint.findings import Finding, SoFar, Watch
from engine.data.lint.linter import Linter, Looked
from engine.data.rows import Keep
from engine.data.selection import Selection


class Looker:
    """Numbers rows as findings do: those of `train` first, those of a validation source of its `own` after them.

    `held` (bool `[train.count]`) are those of `train` that validate.
    """

    def __init__(
        self, linter: Linter, train: Selection, own: Selection | None, held: Keep, watch: Watch
    ) -> None:
        self._linter, self._watch, self._held = linter, watch, held
        self._selections = [train, *([own] if own else [])]
        self._places: dict[int, str] = {}
        """Where rows stand that a finding has named."""

    def train(self, rows: Sequence[Looked]) -> None:
        """Look at a chunk of the training rows."""
        self._linter.look(rows, lambda number: bool(self._held[number]))

    def validation(self, rows: Sequence[Looked]) -> None:
        """Look at a chunk of the validation source's rows."""
        first = self._selections[0].count
        moved = [(first + number, row, encoded) for number, row, encoded in rows]
        self._linter.look(moved, lambda _: True)

    def told(self) -> None:
        """Tell who watches."""
        total = sum(selection.count for selection in self._selections)
        self._watch(SoFar(self._linter.count, total, self.findings))

    def findings(self) -> tuple[Finding, ...]:
        """What the lint says of the rows so far, with their places. Raises `DataError`."""
        findings = self._linter.findings()
        new = {row for finding in findings for row in finding.rows} - set(self._places)
        first = 0
        for selection in self._selections:
            here = {number - first for number in new if 0 <= number - first < selection.count}
            self._places |= {first + number: where for number, where in selection.places(here).items()}
            first += selection.count
        return tuple(
            replace(finding, places=tuple(self._places[row] for row in finding.rows)) for finding in findings
        )
