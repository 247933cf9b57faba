"""Rows that cannot be used: they stop a run with an error that names them, or are left out and counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.data.findings import RULES, Finding, Kind
from engine.data.formats.base import RowError
from engine.errors import DataError

NAMED = 10
"""Rows named in one error or note."""
PLACES = 3
"""Most places named of rows with the same problem."""
FIXES = 2
"""Most pieces of advice in one error."""
SKIP = "--set data.on_error=skip"


@dataclass
class Problems:
    """Problems of rows. `skip` is True if the recipe leaves such rows out."""

    skip: bool
    rows: list[int] = field(default_factory=list)
    """Numbers of the first of them."""
    described: list[str] = field(default_factory=list)
    """Places of the first of them, each with its problem."""
    reasons: Counter[str] = field(default_factory=Counter)
    alike: dict[str, list[str]] = field(default_factory=dict)
    """Places of the first of them, by problem."""
    fixes: dict[str, None] = field(default_factory=dict)
    """Advice, each once; an empty one where none is known."""

    def add(self, number: int, where: str, error: RowError) -> None:
        """Add a row by its number and place."""
        if len(self.described) < NAMED:
            self.rows.append(number)
            self.described.append(f"{where}: {error}")
            self.fixes[error.fix] = None
        if str(error) in self.alike or len(self.alike) < NAMED:
            self.alike.setdefault(str(error), []).append(where)
        self.reasons[error.reason] += 1

    @property
    def count(self) -> int:
        """Rows so far."""
        return self.reasons.total()

    @property
    def stop(self) -> bool:
        """True if the run stops, and rows are only checked for more problems."""
        return bool(self.count) and not self.skip

    @property
    def enough(self) -> bool:
        """True if further problems would not change the error."""
        return self.stop and self.count >= NAMED

    @property
    def counted(self) -> str:
        """Counts by reason, as a phrase."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.most_common())

    def note(self, of: int) -> str:
        """Note on what was left out of so many rows."""
        more = [f"and {self.count - NAMED:,} more"] if self.count > NAMED else []
        are = "is" if self.count == 1 else "are"
        lead = f"{self.count:,} of {of:,} rows cannot be used and {are} left out (on_error: skip), {self.counted}"
        return "\n  ".join([f"{lead}:", *self.described, *more])

    def error(self, of: int) -> DataError:
        """Error for the first of them, out of so many rows; a problem of many rows is said once."""
        if self.skip:
            lead = f"none of the {of:,} rows can be used, {self.counted}:"
            return DataError("\n  ".join([lead, *self.described]), self._hint(RULES["unusable"].fix))
        if self.count == 1:
            return DataError(self.described[0], self._hint(f"Fix this row, or leave it out: {SKIP}"))
        lead = f"{'at least ' if self.count >= NAMED else ''}{self.count:,} rows cannot be used"
        hint = self._hint(f"Fix these rows, or leave them out: {SKIP}")
        if len(self.alike) == 1:
            ((problem, where),) = self.alike.items()
            return DataError(f"{lead}: {problem} ({_places(where)})", hint)
        lines = [f"{_places(where)}: {problem}" for problem, where in self.alike.items()]
        return DataError("\n  ".join([f"{lead}:", *lines]), hint)

    def _hint(self, otherwise: str) -> str:
        """Advice for these problems, or `otherwise`."""
        known = [fix for fix in self.fixes if fix][:FIXES]
        return ". ".join(known if known and "" not in self.fixes else [*known, otherwise])


def _places(where: Sequence[str]) -> str:
    more = f" and {len(where) - PLACES:,} more" if len(where) > PLACES else ""
    return f"{', '.join(where[:PLACES])}{more}"


def left_out(kind: Kind, count: int, of: int, why: str = "", rows: tuple[int, ...] = ()) -> list[Finding]:
    """Finding about `count` rows out of `of` that are left out; none if there are none."""
    if not count:
        return []
    what, are = ("row", "is") if count == 1 else ("rows", "are")
    cannot = "be read" if kind == "unreadable" else "be used"
    message = f"{count:,} {what} cannot {cannot} and {are} left out{why and f': {why}'}"
    return [Finding(kind, RULES[kind].severity(count, of), message, RULES[kind].fix, count, of, rows)]
