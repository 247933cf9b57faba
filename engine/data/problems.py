"""Rows that cannot be used: they stop a run and are told at once, or are left out, counted and named."""

from collections import Counter
from dataclasses import dataclass, field

from engine.data.form import RowError
from engine.data.lint.findings import RULES, Finding, Kind
from engine.errors import DataError

NAMED = 10
"""Rows named in one error or note."""


@dataclass
class Problems:
    """What is wrong with rows; `skip` is whether the recipe says to leave such rows out."""

    skip: bool
    rows: list[int] = field(default_factory=list)
    """Numbers of the first of them."""
    told: list[str] = field(default_factory=list)
    """Where the first of them stand, and what is wrong."""
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, number: int, where: str, error: RowError) -> None:
        """Take in a row by its number and place."""
        if len(self.told) < NAMED:
            self.rows.append(number)
            self.told.append(f"{where}: {error}")
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
        """The first of them, out of so many rows."""
        if self.skip:
            lead = f"none of the {of:,} rows can be used, {self.counted}:"
            return DataError("\n  ".join([lead, *self.told]), RULES["unusable"].fix)
        if self.count == 1:
            return DataError(self.told[0], "Mend this row or take it out.")
        lead = f"{self.count} rows cannot be used" if self.count < NAMED else "many rows cannot be used"
        return DataError("\n  ".join([f"{lead}:", *self.told]), "Mend these rows or take them out.")


def left_out(kind: Kind, count: int, of: int, why: str = "", rows: tuple[int, ...] = ()) -> list[Finding]:
    """What the lint says of `count` rows out of `of` that are left out: nothing, where there are none."""
    if not count:
        return []
    what, are = ("row", "is") if count == 1 else ("rows", "are")
    cannot = "be read" if kind == "unreadable" else "be used"
    message = f"{count:,} {what} cannot {cannot} and {are} left out{why and f': {why}'}"
    return [Finding(kind, RULES[kind].severity(count, of), message, RULES[kind].fix, count, of, rows)]
