"""Problems of a recipe, each with a place that an editor can jump to."""

from dataclasses import dataclass

from engine.errors import ConfigError
from engine.text import shortened

SHOWN = 1100
"""Bytes of problems that a message lists."""
LONGEST = 400
"""Bytes of one of them."""


@dataclass(frozen=True, order=True)
class Place:
    """A position in a recipe: `origin` is its path, or the `--set` option; line and column count from 1."""

    origin: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin


@dataclass(frozen=True)
class Problem:
    """One thing to fix: where, which key, what the rule is, and what was probably meant."""

    place: Place
    message: str
    key: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        place = str(self.place)
        # An override's place is its key already.
        return f"{place}: {self.message.removeprefix(f'{self.key}: ' if place.endswith(self.key) else '')}"


class RecipeError(ConfigError):
    """A recipe with problems, all of them, in the order of the file."""

    def __init__(self, problems: list[Problem], hint: str = "") -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.place.line == 0, p.place)))
        origin = self.problems[0].place.origin
        lines: list[str] = []
        for problem in self.problems:
            lines.append(shortened(str(problem), LONGEST))
            if len("\n".join(lines).encode()) > SHOWN:
                lines[-1:] = [f"… and {len(self.problems) - len(lines) + 1} more"]
                break
        head = [f"{shortened(origin, LONGEST)} has {len(self.problems)} problems:"] if len(lines) > 1 else []
        super().__init__("\n".join(head + ["  " * bool(head) + line for line in lines]), hint)
