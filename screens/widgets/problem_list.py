"""The problems of a recipe, below its text; each leads to its line."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from engine.config.problems import Problem


class ProblemList(OptionList):
    """One entry a problem, hidden where there is none. The one of the cursor's line is marked."""

    DEFAULT_CSS = """
    ProblemList, ProblemList:focus {
        height: auto; max-height: 7; border: none; border-top: solid $error; padding: 0; background: $surface;
        scrollbar-size-vertical: 1;
    }
    ProblemList > .option-list--option { padding: 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.problems: tuple[Problem, ...] = ()
        self.display = False

    def show(self, problems: Sequence[Problem]) -> None:
        """Show these problems, and no others."""
        if tuple(problems) == self.problems:
            return
        self.problems = tuple(problems)
        self.display = bool(problems)
        self.clear_options()
        self.add_options(Option(_row(problem)) for problem in self.problems)

    def at_line(self, line: int) -> None:
        """Mark the problem of a line, counted from 1."""
        here = [number for number, problem in enumerate(self.problems) if problem.place.line == line]
        self.highlighted = here[0] if here else None


def _row(problem: Problem) -> Table:
    """Line, sign and message; a long message goes on below itself."""
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=6, style="bold")
    row.add_column()
    row.add_row(Text(f"{problem.place.line:>4} ✖"), Text(problem.message))
    return row
