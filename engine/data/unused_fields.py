"""Fields of rows that are not used: counted, so that each is reported once."""

from collections import Counter
from dataclasses import dataclass, field

from engine.data.types import Row


@dataclass
class Unused:
    """Number of rows that have each unused field, and the place of the first of them."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def count(self, row: Row) -> None:
        """Count a row."""
        for what in row.unused:
            self.counts[what] += 1
            self.first.setdefault(what, row.where)

    def notes(self, of: int) -> list[str]:
        """A sentence for each, out of so many rows."""
        return [
            f"{count:,} of {of:,} rows {'has' if count == 1 else 'have'} {what} (first: {self.first[what]})"
            for what, count in self.counts.items()
        ]
