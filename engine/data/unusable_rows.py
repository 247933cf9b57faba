"""Rows that cannot be used: they stop a run and are told at once, or are left out, counted and named."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.data.findings import RULES, Finding, Kind
from engine.data.formats.base import RowError
from engine.errors import DataError

NAMED = 10
"""Rows named in one error or note."""
PLACES = 3
"""Places named of rows that have the same thing wrong."""
FIXES = 2
"""Different things to do that are named in one error."""
SKIP = "--set data.on_error=skip"


@dataclass
class Problems:
    """What is wrong with rows; `skip` is whether the recipe says to leave such rows out."""

    skip: bool
    rows: list[int] = field(default_factory=list)
    """Numbers of the first of them."""
    told: list[str] = field(default_factory=list)
    """Where the first of them stand, and what is wrong."""
    reasons: Counter[str] = field(default_factory=Counter)
    alike: dict[str, list[str]] = field(default_factory=dict)
    """The places of the first of them by what is wrong."""
    fixes: dict[str, None] = field(default_factory=dict)
    """What to do about them; an empty one where that is not known."""

    def add(self, number: int, where: str, error: RowError) -> None:
        """Take in a row by its number and place."""
        if len(self.told) < NAMED:
            self.rows.append(number)
            self.told.append(f"{where}: {error}")
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
        """Whether there is nothing to make any more, only to look for more of them."""
        return bool(self.count) and not self.skip

    @property
    def enough(self) -> bool:
        """Whether what is told would not grow."""
        return self.stop and self.count >= NAMED

    @property
    def counted(self) -> str:
        """How many there are of each kind."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.most_common())

    def note(self, of: int) -> str:
        """What was left out of so many rows."""
        more = [f"and {self.count - NAMED:,} more"] if self.count > NAMED else []
        are = "is" if self.count == 1 else "are"
        lead = f"{self.count:,} of {of:,} rows cannot be used and {are} left out (on_error: skip), {self.counted}"
        return "\n  ".join([f"{lead}:", *self.told, *more])

    def error(self, of: int) -> DataError:
        """What is wrong with the first of them, out of so many rows; what is wrong with many is said once."""
        if self.skip:
            lead = f"none of the {of:,} rows can be used, {self.counted}:"
            return DataError("\n  ".join([lead, *self.told]), self._hint(RULES["unusable"].fix))
        if self.count == 1:
            return DataError(self.told[0], self._hint(f"Fix this row, or leave it out: {SKIP}"))
        lead = f"{'at least ' if self.count >= NAMED else ''}{self.count:,} rows cannot be used"
        hint = self._hint(f"Fix these rows, or leave them out: {SKIP}")
        if len(self.alike) == 1:
            ((problem, where),) = self.alike.items()
            return DataError(f"{lead}: {problem} ({_places(where)})", hint)
        lines = [f"{_places(where)}: {problem}" for problem, where in self.alike.items()]
        return DataError("\n  ".join([f"{lead}:", *lines]), hint)

    def _hint(self, otherwise: str) -> str:
        """The one thing to do, where that is known."""
        known = [fix for fix in self.fixes if fix][:FIXES]
        return ". ".join(known if known and "" not in self.fixes else [*known, otherwise])


def _places(where: Sequence[str]) -> str:
    more = f" and {len(where) - PLACES:,} more" if len(where) > PLACES else ""
    return f"{', '.join(where[:PLACES])}{more}"


def left_out(kind: Kind, count: int, of: int, why: str = "", rows: tuple[int, ...] = ()) -> list[Finding]:
    """What the lint says of `count` rows out of `of` that are left out: nothing, where there are none."""
    if not count:
        return []
    what, are = ("row", "is") if count == 1 else ("rows", "are")
    cannot = "be read" if kind == "unreadable" else "be used"
    message = f"{count:,} {what} cannot {cannot} and {are} left out{why and f': {why}'}"
    return [Finding(kind, RULES[kind].severity(count, of), message, RULES[kind].fix, count, of, rows)]
