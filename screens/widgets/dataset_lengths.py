"""How long a sample of the rows is, and the rows that have problems."""

from textual import on
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.data.views import Lengths
from screens.format import one_line
from screens.widgets.lengths import histogram, rows_of, summary

PROBLEMS = 200
"""Problems that are listed."""


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

    def compose(self) -> ComposeResult:
        yield Static(id="bars", markup=False)
        yield OptionList(id="problems")

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
        shown = found.problems[:PROBLEMS]
        bars.append(
            f"\n{rows_of(len(found.problems))} with problems:" if shown else "\nno problems found in them"
        )
        for row, problem in shown:
            what = problem.partition(": ")[2] or problem  # the row's number says where
            problems.add_option(Option(one_line(f"✗ row {row + 1}: {what}", 200)))
        problems.set_class(bool(shown), "-shown")
        self.query_one("#bars", Static).update(bars)

    @on(OptionList.OptionSelected)
    def _chosen(self, message: OptionList.OptionSelected) -> None:
        message.stop()
        if self.found is not None:
            self.post_message(self.Chosen(self.found.problems[message.option_index][0]))
