"""Going through the rows of a file: one by one, by number, by words, by problem."""

from textual import on
from textual.widgets import Input

from engine.data.preview.values import Lengths, Opened
from engine.errors import ConfigError
from screens.datasets.asking import DataAsking
from screens.datasets.row_list import RowList
from screens.datasets.sources import Shown
from screens.format import one_line


class DataMoves(DataAsking):
    """A screen with a list of rows, and a line that asks for a number or for words."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = Shown()
        self.source = ""
        self.opened: Opened | None = None
        self.lengths: Lengths | None = None
        self.words = ""
        """What was searched for last."""
        self._asking = ""

    def go_row(self, row: int) -> None:
        """Put the cursor on a row, counted from 0; the nearest where there is none."""
        self.query_one(RowList).cursor = row

    def action_add(self) -> None:
        self._ask(
            "add", "add rows", "path of a .jsonl, .json, .csv or .parquet file, or a folder; or: starter"
        )

    def action_go_row(self) -> None:
        known = self.opened.known if self.opened else 0
        self._ask("go", "go to row", f"1 to {known}; -1 is the last")

    def action_search(self) -> None:
        self._ask("search", "next row with these words", "words as they stand in the file", self.words)

    def action_next_row(self) -> None:
        self.query_one(RowList).cursor += 1

    def action_previous_row(self) -> None:
        self.query_one(RowList).cursor -= 1

    def action_next_problem(self) -> None:
        found = self.lengths
        rows = {row for row, _ in found.problems} if found else set()
        rows |= {row for finding in found.findings for row in finding.rows} if found else set()
        if not rows:
            self.notify("No problems in the rows that were looked at.")
            return
        here = self.query_one(RowList).cursor
        self.go_row(min((row for row in rows if row > here), default=min(rows)))

    def action_close(self) -> None:
        self.workers.cancel_group(self, "search")
        self.query_one(RowList).border_subtitle = self._asking = ""
        self.query_one("#ask").remove_class("-open")
        self.query_one(RowList).focus()

    @on(Input.Submitted, "#ask")
    def _answered(self, message: Input.Submitted) -> None:
        text, asking = message.value.strip(), self._asking
        self.action_close()
        if text and asking == "add":
            self.find(text)
        elif text and asking == "search":
            self._search(text)
        elif text and self.opened is not None:
            self._go_to(text, self.opened.known)

    def _go_to(self, text: str, known: int) -> None:
        """Go to the row of this number, from 1 on or from -1 back."""
        if not text.lstrip("-").isdigit() or int(text) == 0:
            self.host.fail(
                ConfigError(f"{text} is no row number.", "Rows are counted from 1; -1 is the last.")
            )
            return
        number = int(text)
        self.go_row(number - 1 if number > 0 else known + number)

    def _search(self, words: str) -> None:
        self.words = words
        rows = self.query_one(RowList)
        rows.border_subtitle = "searching …"
        self.search_rows(self.source, words, rows.cursor + 1, self.shown.view_of(self.source))

    def on_data_asking_hit(self, message: DataAsking.Hit) -> None:
        rows = self.query_one(RowList)
        rows.border_subtitle = ""
        if message.source != self.source or message.words != self.words:
            return
        if message.row is None:
            counting = self.opened is not None and self.opened.counting is not None
            self.notify(
                f"No row{' counted so far' if counting else ''} holds {one_line(message.words, 60)!r}.",
                markup=False,
            )
            return
        if message.row <= rows.cursor:
            self.notify("There is no more below; this is the first from the top.")
        self.go_row(message.row)

    def _ask(self, what: str, title: str, placeholder: str, value: str = "") -> None:
        self._asking = what
        ask = self.query_one("#ask", Input)
        ask.border_title, ask.placeholder, ask.value = title, placeholder, value
        ask.add_class("-open")
        ask.focus()
