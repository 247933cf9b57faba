"""Two runs side by side, over the list: results first, then answers, exports, and what differs in the rest."""

from typing import ClassVar, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.runs.index.compare import Comparison, Row, compare, side_text
from engine.runs.index.compare_row import NOT_TOLD_APART
from engine.runs.index.index import RunSummary
from screens.actions import bindings
from screens.widgets.keys import Keys


class Compared(Message):
    """Both runs are read."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self.comparison = comparison


class CompareScreen(ModalScreen[None]):
    """Common and different properties of two runs."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("compare")
    DEFAULT_CSS = """
    CompareScreen { align: center middle; }
    CompareScreen #compared { width: 96%; max-width: 130; height: 92%; padding: 0 1; }
    CompareScreen #compared { background: $surface; border: round $primary; }
    CompareScreen #rows { height: 1fr; }
    CompareScreen #rows > Static { width: 1fr; height: auto; }
    CompareScreen.-narrow #compared { width: 100%; height: 1fr; }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium")]  # noqa: RUF012 - Textual's own

    def __init__(self, left: RunSummary, right: RunSummary) -> None:
        super().__init__()
        self.left = left
        self.right = right
        self.comparison: Comparison | None = None
        self.all = False
        """True if equal rows are shown too."""

    def compose(self) -> ComposeResult:
        with Vertical(id="compared") as box:
            box.border_title = "compare"
            with VerticalScroll(id="rows"):
                yield Static("Reading both runs …")
        yield Keys()

    def on_mount(self) -> None:
        self.query_one("#rows").focus()
        self._read()

    @work(thread=True, exit_on_error=False)
    def _read(self) -> None:
        self.post_message(Compared(compare(self.left, self.right)))

    def on_compared(self, message: Compared) -> None:
        self.comparison = message.comparison
        self._show()

    def action_all(self) -> None:
        self.all = not self.all
        self._show()

    def action_swap(self) -> None:
        self.left, self.right = self.right, self.left
        self._read()

    def action_close(self) -> None:
        self.dismiss()

    def _show(self) -> None:
        if self.comparison is None:
            return
        sections = self.comparison.sections if self.all else self.comparison.different()
        shown = sum(map(len, sections.values()))
        hidden = sum(map(len, self.comparison.sections.values())) - shown
        parts: list[Text | Table] = [Text(f"! {caution}", "bold") for caution in self.comparison.cautions]
        parts += [_table(self.left, self.right, {name: rows for name, rows in sections.items() if rows})]
        if hidden:
            parts.append(Text(f"\n{hidden} rows are the same in both; a shows them.", "dim"))
        self.query_one("#rows > Static", Static).update(Group(*parts))


def _table(left: RunSummary, right: RunSummary, sections: dict[str, tuple[Row, ...]]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(width=1)
    table.add_column("✓ better  ≠ differs", max_width=30, overflow="fold", header_style="dim")
    for side in (left, right):
        table.add_column(_title(side), ratio=1, overflow="fold")
    for name, rows in sections.items():
        table.add_row("", Text(f"\n{name}", "bold underline"))
        for row in rows:
            mark, style = (" ", "dim") if row.same else ("≠", "")
            about = Text.assemble((row.key, style), (f"\n{NOT_TOLD_APART}" if row.overlap else "", "dim"))
            table.add_row(Text(mark, "bold"), about, _cell(row, "left"), _cell(row, "right"))
    return table


def _title(run: RunSummary) -> Text:
    """Name of a run, and below it when it began, which tells two of one name apart."""
    rest = run.id.removesuffix(f"-{run.name}")
    return Text.assemble(run.name, (f"\n{rest}" if rest != run.id else "", "dim"))


def _cell(row: Row, side: Literal["left", "right"]) -> Text:
    text = Text(side_text(row, side), "dim" if row.same else "")
    if row.better == side:
        text.append(" ✓", "bold")
    return text
