"""Datasets: the rows of a file as the model will really see them, and what is to be said of all of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.data.preview.values import Opened
from screens.datasets.asking import DataAsking
from screens.datasets.length_panel import LengthsPane
from screens.datasets.lengths import rows_of
from screens.datasets.moves import DataMoves
from screens.datasets.row import RowPane
from screens.datasets.row_list import RowList
from screens.datasets.sources import label
from screens.format import one_line, percent, size
from screens.messages import ShowData

PANES = ("rows", "row", "lengths")
OWN = 50
"""Files that are kept in the list."""


class DatasetsScreen(DataMoves):
    """Sources and rows on the left, the row in the middle, lengths and problems beside or below it."""

    SCOPE = "datasets"
    CSS_PATH = "screen.tcss"
    pane: reactive[str] = reactive("rows", init=False)

    row = query_one(RowPane)

    STATES: ClassVar[tuple[str, ...]] = tuple(f"-pane-{pane}" for pane in PANES)

    def __init__(self) -> None:
        super().__init__()
        self.raw = False
        self._waiting: str | None = None
        """A source to show once the list is there."""

    def body(self) -> Iterable[Widget]:
        yield Input(id="ask")
        yield Static(id="panes", markup=False)
        with Horizontal(id="all"):
            with Vertical(id="left"):
                yield OptionList(id="sources", markup=False)
                yield RowList(id="rows")
            with Vertical(id="right"):
                yield RowPane(id="row")
                yield LengthsPane(id="lengths")

    def on_mount(self) -> None:
        self.query_one("#sources").border_title = "files of rows"
        self.query_one("#rows").border_title = "rows"
        self.watch_pane()
        self.query_one(RowList).focus()

    def on_screen_resume(self) -> None:
        self.read_sources()

    # What comes back

    def on_data_asking_sources(self, message: DataAsking.Sources) -> None:
        before = self.shown
        self.shown = message.shown
        self._list_sources()
        wanted = self._waiting or self.source or self.shown.sources[0]
        self._waiting = None
        if wanted != self.source or before.view_of(wanted) != self.shown.view_of(wanted):
            self._show(wanted)

    def on_data_asking_counted(self, message: DataAsking.Counted) -> None:
        if message.source != self.source:
            return
        first = self.opened is None
        self.opened = message.opened
        self.refresh_bindings()
        rows = self.query_one(RowList)
        rows.show_count(message.opened.known)
        rows.border_title = f"{self._counted(message.opened)}: tokens, first words"
        if first and message.opened.known:
            self._read_row()
            if message.opened.counting is not None:  # a large file: its first rows tell something already
                self.read_lengths(self.source, self.shown.view_of(self.source))
        if message.opened.counting is None:
            if not message.opened.known:
                hint = message.opened.hint or "Put rows in it, or choose another file."
                self._refuse(message.opened.evidence, hint)
            self.read_lengths(self.source, self.shown.view_of(self.source))
        self.row.recount(message.opened)
        self._about()

    def on_data_asking_rows(self, message: DataAsking.Rows) -> None:
        if message.source != self.source:
            return
        if message.whole and message.rows and message.rows[0].row == self.query_one(RowList).cursor:
            self.row.show(message.rows[0], self.opened)
            self._about()
        elif not message.whole:
            self.query_one(RowList).show_words(message.rows)

    def on_data_asking_sampled(self, message: DataAsking.Sampled) -> None:
        if message.source == self.source:
            self.lengths = message.lengths
            self.query_one(LengthsPane).show(message.lengths, self.shown.view.max_seq_length)

    def on_data_asking_found(self, message: DataAsking.Found) -> None:
        kept = [each for each in self.host.preferences.datasets if each not in message.files]
        own = [each for each in [*message.files, *kept] if each != "starter"]
        if own != self.host.preferences.datasets:
            self.host.change(datasets=own[:OWN])
        self._waiting = message.files[0]
        self.read_sources()

    def on_data_asking_written(self, message: DataAsking.Written) -> None:
        self.host.edit_recipe(text=message.text)

    def on_data_asking_refused(self, message: DataAsking.Refused) -> None:
        """Say it where the answer would be: a raw row can be shown while its tokens cannot."""
        if message.source != self.source:
            return
        error = message.error
        match message.part:
            case "source":
                self._refuse(error.message, error.hint)
            case "row" | "raw row" if (message.part == "raw row") == self.raw:
                self.row.say(error.message, error.hint)
            case "lengths":
                self.query_one(LengthsPane).say("")
            case "search":
                self.query_one(RowList).border_subtitle = ""
                self.host.fail(error)

    def on_show_data(self, message: ShowData) -> None:
        self.show(message.source)

    # What a person does

    def show(self, source: str) -> None:
        """Show a file, a folder's files, or the starter."""
        self.find(source)

    @on(RowList.Moved)
    def _moved(self) -> None:
        if self.opened is not None:
            self._read_row()

    @on(RowList.Wanted)
    def _words_wanted(self, message: RowList.Wanted) -> None:
        if self.opened is not None:
            self.read_words(self.source, message.rows, self.shown.view_of(self.source))

    @on(OptionList.OptionSelected, "#sources")
    def _source_chosen(self, message: OptionList.OptionSelected) -> None:
        self._show(self.shown.sources[message.option_index])
        self.query_one(RowList).focus()

    @on(LengthsPane.Chosen)
    def _problem_chosen(self, message: LengthsPane.Chosen) -> None:
        self.go_row(message.row)

    def action_raw(self) -> None:
        self.raw = not self.raw
        self._read_row()

    def action_bounds(self) -> None:
        self.row.tokens.show_bounds(not self.row.tokens.bounds)

    def action_pane(self) -> None:
        self.pane = PANES[(PANES.index(self.pane) + 1) % len(PANES)]

    def action_use(self) -> None:
        self.write_recipe(self.source)

    def action_forget(self) -> None:
        own = self.host.preferences.datasets
        if self.source not in own:
            self.notify("Only files that were added here can be taken out of the list.")
            return
        self.host.change(datasets=[each for each in own if each != self.source])
        self.source = ""
        self.read_sources()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "pane":
            return self.has_class("-narrow")
        if action in ("next_row", "previous_row", "go_row", "search", "raw", "bounds", "use"):
            return self.opened is not None or None
        return True

    def watch_pane(self) -> None:
        self.set_classes([*(set(self.classes) - set(self.STATES)), f"-pane-{self.pane}"])
        names = " · ".join(f"▸{name}" if name == self.pane else f" {name}" for name in PANES)
        self.query_one("#panes", Static).update(f" {names}    v: the next")

    # What is shown

    def _show(self, source: str) -> None:
        self.source, self.opened, self.lengths = source, None, None
        self.query_one(RowList).clear()
        self.query_one("#rows").border_title = "rows"
        self.row.say("", "")
        self.row.about("opening …")
        self.query_one(LengthsPane).say("counting rows …")
        self._list_sources()
        self.open(source, self.shown.view_of(source))

    def _read_row(self) -> None:
        view = self.shown.view_of(self.source)
        self.read_row(self.source, self.query_one(RowList).cursor, view, self.raw)

    def go_row(self, row: int) -> None:
        super().go_row(row)
        if self.has_class("-narrow"):
            self.pane = "row"

    def _list_sources(self) -> None:
        sources = self.query_one("#sources", OptionList)
        sources.clear_options()
        for source in self.shown.sources:
            sources.add_option(Option(("▸ " if source == self.source else "  ") + label(source)))

    def _counted(self, opened: Opened) -> str:
        if opened.counting is not None:
            return f"{rows_of(opened.known)} so far, {percent(opened.counting)}"
        return rows_of(opened.known)

    def _about(self) -> None:
        opened = self.opened
        if opened is None:
            return
        view = self.shown.view
        model = Path(view.model).name if Path(view.model).is_absolute() else view.model
        how = f"as {one_line(model, 40)} sees it, trained on: {view.train_on} ({self.shown.recipe})"
        if self.raw:
            how = "as it stands in the file"
        found = opened.evidence if opened.format else f"{opened.name}: its format is not known"
        lines = [f"{found} · {size(opened.size)}", self.shown.problem or how]
        if opened.broken:
            lines.append(f"the rest cannot be read: {opened.broken}")
        self.row.about("\n".join(lines))

    def _refuse(self, problem: str, hint: str) -> None:
        """Say what is wrong with a file, in the place of its rows."""
        self.row.say(problem, hint)
        self.query_one(LengthsPane).say("")
        self.query_one(RowList).border_subtitle = ""
