"""Lengths of a sample of the rows, and the rows that have problems."""

from collections.abc import Iterator

from textual import on
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.data.findings import Severity
from engine.data.preview.values import Lengths
from screens.datasets.lengths import histogram, summary
from screens.format import one_line

PROBLEMS = 200
"""Problems that are listed."""
MARKS: dict[Severity, str] = {"error": "✗", "warning": "▲", "note": "·"}


class LengthsPane(VerticalScroll, can_focus=False):
    """Bars, what the sample says, and its problems, each of which leads to its row."""

    class Chosen(Message):
        """The row of a problem is to be shown; counted from 0."""

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self.found: Lengths | None = None
        self._rows: list[int | None] = []
        """Rows that the lines below the bars lead to; None for a problem of all rows together."""

    def compose(self) -> ComposeResult:
        yield Static(id="bars", markup=False)
        yield OptionList(id="problems", markup=False)

    def on_mount(self) -> None:
        self.border_title = "lengths"

    def say(self, text: str) -> None:
        """Words instead of bars, until there are some."""
        self.found = None
        self.query_one("#bars", Static).update(text)
        self.query_one("#problems").remove_class("-shown")

    def show(self, found: Lengths, limit: int) -> None:
        """Show what a sample of rows says, against `max_seq_length`."""
        self.found = found
        bars = histogram(found, limit, max(20, self.content_size.width))
        bars.append("\n" * bool(bars) + "\n".join(summary(found, limit)))
        problems = self.query_one("#problems", OptionList)
        problems.clear_options()
        self._rows = []
        for row, words in [*_findings(found), *_problems(found)][:PROBLEMS]:
            self._rows.append(row)
            problems.add_option(Option(one_line(words, 200)))
        bars.append("\nproblems:" if self._rows else "\nno problems found")
        problems.set_class(bool(self._rows), "-shown")
        self.query_one("#bars", Static).update(bars)

    @on(OptionList.OptionSelected)
    def _chosen(self, message: OptionList.OptionSelected) -> None:
        message.stop()
        row = self._rows[message.option_index] if self.found is not None else None
        if row is not None:
            self.post_message(self.Chosen(row))


def _findings(found: Lengths) -> Iterator[tuple[int | None, str]]:
    """Findings of the lint, each with the row that it leads to: the first of its rows, then the others."""
    for finding in found.findings:
        yield next(iter(finding.rows), None), f"{MARKS[finding.severity]} {finding.message}"
        for row in finding.rows[1:]:
            yield row, f"↳ row {row + 1}"


def _problems(found: Lengths) -> Iterator[tuple[int | None, str]]:
    """Rows that cannot be used."""
    for row, problem in found.problems:
        what = problem.partition(": ")[2] or problem  # the row's number says where
        yield row, f"✗ row {row + 1}: {what}"
