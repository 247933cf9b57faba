"""Lint that runs beside tokenisation: it sees rows as they come, and reports what it has found so far."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from engine.data.findings import Finding, SoFar, Watch, sorted_by_weight
from engine.data.lint.compared import ComparedAnswers, ComparedRow
from engine.data.lint.languages import Languages
from engine.data.lint.linter import Linter
from engine.data.selection import Selection


class LintPass:
    """Numbers rows as findings do: through the selections one after the other, those that train first."""

    def __init__(self, linter: Linter, selections: Sequence[Selection], watch: Watch) -> None:
        self._linter, self._languages, self._watch = linter, Languages(), watch
        self._compared = ComparedAnswers()
        self._selections = selections
        self._places: dict[int, str] = {}
        """Places of rows that findings name."""

    def add(self, first: int, rows: Sequence[ComparedRow]) -> None:
        """Add a chunk of a selection, whose first row has the number `first`."""
        self._linter.add([(first + number, answers[0], group[0]) for number, answers, group in rows])
        self._languages.add([(first + number, answers[0]) for number, answers, _ in rows])
        self._compared.add([(first + number, answers, group) for number, answers, group in rows])

    def mark_validation(self, numbers: Iterable[int]) -> None:
        """Mark rows as those that validate."""
        self._linter.mark_validation(numbers)

    def report(self) -> None:
        """Report the findings so far. Languages are left to the end: they take seconds."""
        total = sum(selection.count for selection in self._selections)
        self._watch(SoFar(self._linter.count, total, lambda: self._placed(self._found())))

    def findings(self, others: Sequence[Finding]) -> tuple[Finding, ...]:
        """Findings about all rows, with their places; `others` were found elsewhere. Raises `DataError`."""
        found = [*others, *self._found(), *self._languages.findings()]
        return self._placed(sorted_by_weight(found))

    def _found(self) -> tuple[Finding, ...]:
        return sorted_by_weight([*self._linter.findings(), *self._compared.findings()])

    def _placed(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        new = {row for finding in findings for row in finding.rows} - set(self._places)
        first = 0
        for selection in self._selections:
            here = {number - first for number in new if 0 <= number - first < selection.count}
            self._places |= {first + number: where for number, where in selection.places(here).items()}
            first += selection.count
        return tuple(
            replace(finding, places=tuple(self._places[row] for row in finding.rows)) for finding in findings
        )
