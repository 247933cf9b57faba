"""Datasets: the rows of a source as the model sees them, their lengths and their problems."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from engine.data.preview.values import Opened
from engine.errors import ConfigError
from screens.base import FtScreen
from screens.datasets.browser import RowBrowser
from screens.datasets.length_panel import LengthsPane
from screens.datasets.lengths import rows_of
from screens.datasets.row import RowPane
from screens.datasets.row_list import RowList
from screens.datasets.sources import label
from screens.format import one_line, percent, size
from screens.intents import EditRecipe, Intent, ShowData
from screens.widgets.panes import Panes

PANES = ("rows", "row", "lengths")
OWN = 50
"""Files that are kept in the list."""


class DatasetsScreen(FtScreen):
    """Sources and rows on the left, the row in the middle, lengths and problems beside or below it."""

    SCOPE = "datasets"
    CSS_PATH = "screen.tcss"
    pane: reactive[str] = reactive("rows", init=False)

    row = query_one(RowPane)
    rows = query_one(RowList)
    lengths_pane = query_one(LengthsPane)

    STATES: ClassVar[tuple[str, ...]] = tuple(f"-pane-{pane}" for pane in PANES)

    def __init__(self) -> None:
        super().__init__()
        self.browser = RowBrowser(self)
        self.raw = False
        self._asking = ""
        """Purpose of the input line: a source to add, a row to go to, or words to search."""
        self._waiting: str | None = None
        """A source to show once the list is there."""

    def body(self) -> Iterable[Widget]:
        yield Input(id="ask")
        yield Panes(PANES)
        with Horizontal(id="all"):
            with Vertical(id="left"):
                yield OptionList(id="sources", markup=False)
                yield RowList(id="rows")
            with Vertical(id="right"):
                yield RowPane(id="row")
                yield LengthsPane(id="lengths")

    def on_mount(self) -> None:
        self.query_one("#sources").border_title = "sources"
        self.query_one("#rows").border_title = "rows"
        self.watch_pane()
        self.rows.focus()

    def on_screen_resume(self) -> None:
        self.browser.read_sources()

    # What comes back

    def on_row_browser_sources(self, message: RowBrowser.Sources) -> None:
        browser, before = self.browser, self.browser.shown
        browser.shown = message.shown
        self._list_sources()
        wanted = self._waiting or browser.source or message.shown.sources[0]
        self._waiting = None
        if wanted != browser.source or before.view_of(wanted) != message.shown.view_of(wanted):
            self._show(wanted)

    def on_row_browser_counted(self, message: RowBrowser.Counted) -> None:
        if message.source != self.browser.source:
            return
        opened, browser = message.opened, self.browser
        first, browser.opened = browser.opened is None, opened
        self.refresh_bindings()
        self.rows.show_count(opened.known)
        self.rows.border_title = f"{self._counted(opened)}: tokens, first words"
        if first and opened.known:
            self._read_row()
        if opened.counting is None and not opened.known:
            self._refuse(opened.evidence, opened.hint or "Put rows in it, or choose another file.")
        if opened.counting is None or (
            first and opened.known
        ):  # a large file's first rows say something already
            browser.read_lengths()
        self.row.recount(opened)
        self._about()

    def on_row_browser_rows(self, message: RowBrowser.Rows) -> None:
        if message.source != self.browser.source:
            return
        if message.whole and message.rows and message.rows[0].row == self.rows.cursor:
            self.row.show(message.rows[0], self.browser.opened)
            self._about()
        elif not message.whole:
            self.rows.show_words(message.rows)

    def on_row_browser_sampled(self, message: RowBrowser.Sampled) -> None:
        if message.source == self.browser.source:
            self.browser.lengths = message.lengths
            self.lengths_pane.show(message.lengths, self.browser.shown.view.max_seq_length)

    def on_row_browser_found(self, message: RowBrowser.Found) -> None:
        kept = [each for each in self.host.preferences.datasets if each not in message.files]
        own = [each for each in [*message.files, *kept] if each != "starter"]
        if own != self.host.preferences.datasets:
            self.host.change(datasets=own[:OWN])
        self._waiting = message.files[0]
        self.browser.read_sources()

    def on_row_browser_written(self, message: RowBrowser.Written) -> None:
        self.host.open(EditRecipe(text=message.text))

    def on_row_browser_hit(self, message: RowBrowser.Hit) -> None:
        rows = self.rows
        rows.border_subtitle = ""
        if message.source != self.browser.source or message.words != self.browser.words:
            return
        if message.row is None:
            opened = self.browser.opened
            counting = opened is not None and opened.counting is not None
            self.notify(
                f"No row{' counted so far' if counting else ''} contains {one_line(message.words, 60)!r}.",
                markup=False,
            )
            return
        if message.row <= rows.cursor:
            self.notify("Search wrapped to the top.")
        self.go_row(message.row)

    def on_row_browser_refused(self, message: RowBrowser.Refused) -> None:
        """Say it where the answer would be: a raw row can be shown while its tokens cannot."""
        if message.source != self.browser.source:
            return
        error = message.error
        match message.part:
            case "source":
                self._refuse(error.message, error.hint)
            case "row" | "raw row" if (message.part == "raw row") == self.raw:
                self.row.say(error.message, error.hint)
            case "lengths":
                self.lengths_pane.say("")
            case "search":
                self.rows.border_subtitle = ""
                self.host.fail(error)

    def receive(self, intent: Intent) -> None:
        match intent:
            case ShowData(source):
                self.browser.find(source)
            case _:
                super().receive(intent)

    # What a person does

    @on(RowList.Moved)
    def _moved(self) -> None:
        if self.browser.opened is not None:
            self._read_row()

    @on(RowList.Wanted)
    def _words_wanted(self, message: RowList.Wanted) -> None:
        if self.browser.opened is not None:
            self.browser.read_words(message.rows)

    @on(OptionList.OptionSelected, "#sources")
    def _source_chosen(self, message: OptionList.OptionSelected) -> None:
        self._show(self.browser.shown.sources[message.option_index])
        self.rows.focus()

    @on(LengthsPane.Chosen)
    def _problem_chosen(self, message: LengthsPane.Chosen) -> None:
        self.go_row(message.row)

    # Going from row to row

    def action_add(self) -> None:
        self._ask("add", "add rows", "a .jsonl, .json, .csv or .parquet file, a folder, or: starter")

    def action_go_row(self) -> None:
        opened = self.browser.opened
        self._ask("go", "go to row", f"1 to {opened.known if opened else 0}; -1 is the last")

    def action_search(self) -> None:
        self._ask("search", "next row with this text", "text as it is in the file", self.browser.words)

    def action_next_row(self) -> None:
        self.rows.cursor += 1

    def action_previous_row(self) -> None:
        self.rows.cursor -= 1

    def action_next_problem(self) -> None:
        rows = self.browser.problem_rows()
        if not rows:
            self.notify("No problems in the rows that were checked.")
            return
        here = self.rows.cursor
        self.go_row(min((row for row in rows if row > here), default=min(rows)))

    def action_close(self) -> None:
        self.browser.stop_searching()
        self.rows.border_subtitle = self._asking = ""
        self.query_one("#ask").remove_class("-open")
        self.rows.focus()

    @on(Input.Submitted, "#ask")
    def _answered(self, message: Input.Submitted) -> None:
        text, asking = message.value.strip(), self._asking
        self.action_close()
        if text and asking == "add":
            self.browser.find(text)
        elif text and asking == "search":
            self._search(text)
        elif text and self.browser.opened is not None:
            self._go_to(text, self.browser.opened.known)

    def _go_to(self, text: str, known: int) -> None:
        """Go to the row of this number, from 1 on or from -1 back."""
        if not text.lstrip("-").isdigit() or int(text) == 0:
            self.host.fail(
                ConfigError(f"{text} is not a row number.", "Rows are counted from 1; -1 is the last.")
            )
            return
        number = int(text)
        self.go_row(number - 1 if number > 0 else known + number)

    def _search(self, words: str) -> None:
        self.rows.border_subtitle = "searching …"
        self.browser.search(words, self.rows.cursor + 1)

    def _ask(self, what: str, title: str, placeholder: str, value: str = "") -> None:
        self._asking = what
        ask = self.query_one("#ask", Input)
        ask.border_title, ask.placeholder, ask.value = title, placeholder, value
        ask.add_class("-open")
        ask.focus()

    # How rows are shown

    def action_raw(self) -> None:
        self.raw = not self.raw
        self._read_row()

    def action_bounds(self) -> None:
        self.row.tokens.show_bounds(not self.row.tokens.bounds)

    @on(Panes.Chosen)
    def _pane_chosen(self, message: Panes.Chosen) -> None:
        self.pane = message.name

    def action_pane(self) -> None:
        self.pane = PANES[(PANES.index(self.pane) + 1) % len(PANES)]

    def action_use(self) -> None:
        self.browser.write_recipe()

    def action_forget(self) -> None:
        own = self.host.preferences.datasets
        if self.browser.source not in own:
            self.notify("Only files that were added here can be removed from the list.")
            return
        self.host.change(datasets=[each for each in own if each != self.browser.source])
        self.browser.source = ""
        self.browser.read_sources()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "pane":
            return self.has_class("-narrow")
        if action in ("next_row", "previous_row", "go_row", "search", "raw", "bounds", "use"):
            return self.browser.opened is not None or None
        return True

    def watch_pane(self) -> None:
        self.set_classes([*(set(self.classes) - set(self.STATES)), f"-pane-{self.pane}"])
        self.query_one(Panes).here = self.pane

    # What is shown

    def _show(self, source: str) -> None:
        self.browser.open(source)
        self.rows.clear()
        self.rows.border_title = "rows"
        self.row.say("", "")
        self.row.about("opening …")
        self.lengths_pane.say("counting rows …")
        self._list_sources()

    def _read_row(self) -> None:
        self.browser.read_row(self.rows.cursor, self.raw)

    def go_row(self, row: int) -> None:
        """Put the cursor on a row, counted from 0; the nearest where there is none."""
        self.rows.cursor = row
        if self.has_class("-narrow"):
            self.pane = "row"

    def _list_sources(self) -> None:
        sources = self.query_one("#sources", OptionList)
        sources.clear_options()
        for source in self.browser.shown.sources:
            sources.add_option(Option(("▸ " if source == self.browser.source else "  ") + label(source)))

    def _counted(self, opened: Opened) -> str:
        if opened.counting is not None:
            return f"{rows_of(opened.known)} so far, {percent(opened.counting)}"
        return rows_of(opened.known)

    def _about(self) -> None:
        opened, shown = self.browser.opened, self.browser.shown
        if opened is None:
            return
        view = shown.view
        model = Path(view.model).name if Path(view.model).is_absolute() else view.model
        how = f"as {one_line(model, 40)} sees it, trained on: {view.train_on} ({shown.recipe})"
        if self.raw:
            how = "as it is in the file"
        found = opened.evidence if opened.format else f"{opened.name}: unknown format"
        lines = [f"{found} · {size(opened.size)}", shown.problem or how]
        if opened.broken:
            lines.append(f"the rest cannot be read: {opened.broken}")
        self.row.about("\n".join(lines))

    def _refuse(self, problem: str, hint: str) -> None:
        """Say what is wrong with a file, in the place of its rows."""
        self.row.say(problem, hint)
        self.lengths_pane.say("")
        self.rows.border_subtitle = ""
