"""Datasets: the rows of a file as the model will really see them, and what is to be said of all of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.data.views import Lengths, Opened, RowView
from engine.errors import ConfigError
from screens.data_asking import DataAsking
from screens.data_sources import Shown
from screens.format import count, one_line, percent, place, size
from screens.messages import ShowData
from screens.widgets.lengths import histogram, rows_of, summary
from screens.widgets.row_list import RowList
from screens.widgets.tokens import TokenView

PANES = ("rows", "row", "lengths")
PROBLEMS = 200
"""Problems that are listed."""
OWN = 50
"""Files that are kept in the list."""


class DatasetsScreen(DataAsking):
    """Sources and rows on the left, the row in the middle, lengths and problems beside or below it."""

    SCOPE = "datasets"
    CSS_PATH = "datasets.tcss"
    pane: reactive[str] = reactive("rows", init=False)

    STATES: ClassVar[tuple[str, ...]] = tuple(f"-pane-{pane}" for pane in PANES)

    def __init__(self) -> None:
        super().__init__()
        self.shown = Shown()
        self.source = ""
        self.opened: Opened | None = None
        self.lengths: Lengths | None = None
        self.raw = False
        self._asking = ""
        self._waiting: str | None = None
        """A source to show once the list is there."""

    def body(self) -> Iterable[Widget]:
        yield Input(id="ask")
        yield Static(id="panes", markup=False)
        with Horizontal(id="all"):
            with Vertical(id="left"):
                yield OptionList(id="sources")
                yield RowList(id="rows")
            with Vertical(id="right"):
                with Vertical(id="row"):
                    yield Static(id="about", markup=False)
                    yield Static(id="problem", markup=False)
                    yield TokenView(id="tokens")
                with VerticalScroll(id="lengths", can_focus=False):
                    yield Static(id="bars", markup=False)
                    yield OptionList(id="problems")

    def on_mount(self) -> None:
        self.query_one("#sources").border_title = "files of rows"
        self.query_one("#rows").border_title = "rows"
        self.query_one("#lengths").border_title = "lengths"
        self.query_one("#row").border_title = "as the model sees it"
        self.watch_pane()
        self.query_one(RowList).focus()

    def on_screen_resume(self) -> None:
        self.read_sources()

    # What comes back

    def on_data_asking_sources(self, message: DataAsking.Sources) -> None:
        view_is_new = message.shown.view != self.shown.view
        self.shown = message.shown
        self._list_sources()
        wanted = self._waiting or self.source or self.shown.sources[0]
        self._waiting = None
        if wanted != self.source or view_is_new:
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
        if message.opened.counting is None:
            if not message.opened.known:
                hint = message.opened.hint or "Put rows in it, or choose another file."
                self._say(message.opened.evidence, hint)
            self.read_lengths(self.source, self.shown.view)
        self._about()

    def on_data_asking_rows(self, message: DataAsking.Rows) -> None:
        if message.source != self.source:
            return
        if message.whole and message.rows and message.rows[0].row == self.query_one(RowList).cursor:
            self._show_row(message.rows[0])
        elif not message.whole:
            self.query_one(RowList).show_words(message.rows)

    def on_data_asking_sampled(self, message: DataAsking.Sampled) -> None:
        if message.source == self.source:
            self.lengths = message.lengths
            self._show_lengths()

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
        if message.source == self.source:
            self._say(message.error.message, message.error.hint)

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
            self.read_words(self.source, message.rows, self.shown.view)

    @on(OptionList.OptionSelected, "#sources")
    def _source_chosen(self, message: OptionList.OptionSelected) -> None:
        self._show(self.shown.sources[message.option_index])
        self.query_one(RowList).focus()

    @on(OptionList.OptionSelected, "#problems")
    def _problem_chosen(self, message: OptionList.OptionSelected) -> None:
        if self.lengths is not None:
            self._go_row(self.lengths.problems[message.option_index][0])

    @on(Input.Submitted, "#ask")
    def _answered(self, message: Input.Submitted) -> None:
        text, asking = message.value.strip(), self._asking
        self.action_close()
        if text and asking == "add":
            self.find(text)
        elif text and self.opened is not None:
            if not text.lstrip("-").isdigit() or int(text) == 0:
                self.host.fail(
                    ConfigError(f"{text} is no row number.", "Rows are counted from 1; -1 is the last.")
                )
                return
            number = int(text)
            self._go_row(number - 1 if number > 0 else self.opened.known + number)

    def action_add(self) -> None:
        self._ask(
            "add", "add rows", "path of a .jsonl, .json, .csv or .parquet file, or a folder; or: starter"
        )

    def action_go_row(self) -> None:
        known = self.opened.known if self.opened else 0
        self._ask("go", "go to row", f"1 to {known}; -1 is the last")

    def action_next_row(self) -> None:
        self.query_one(RowList).cursor += 1

    def action_previous_row(self) -> None:
        self.query_one(RowList).cursor -= 1

    def action_next_problem(self) -> None:
        found = self.lengths.problems if self.lengths else ()
        if not found:
            self.notify("No problems in the rows that were looked at.")
            return
        here = self.query_one(RowList).cursor
        self._go_row(next((row for row, _ in found if row > here), found[0][0]))

    def action_raw(self) -> None:
        self.raw = not self.raw
        self._read_row()

    def action_bounds(self) -> None:
        tokens = self.query_one(TokenView)
        tokens.show_bounds(not tokens.bounds)

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

    def action_close(self) -> None:
        self._asking = ""
        self.query_one("#ask").remove_class("-open")
        self.query_one(RowList).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "pane":
            return self.has_class("-narrow")
        if action in ("next_row", "previous_row", "go_row", "raw", "bounds", "use"):
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
        self._say("", "")
        self.query_one("#about", Static).update("opening …")
        self.query_one("#bars", Static).update("counting rows …")
        self.query_one("#problems").remove_class("-shown")
        self._list_sources()
        self.open(source, self.shown.view)

    def _read_row(self) -> None:
        self.read_row(self.source, self.query_one(RowList).cursor, self.shown.view, self.raw)

    def _go_row(self, row: int) -> None:
        self.query_one(RowList).cursor = row
        if self.has_class("-narrow"):
            self.pane = "row"

    def _ask(self, what: str, title: str, placeholder: str) -> None:
        self._asking = what
        ask = self.query_one("#ask", Input)
        ask.border_title, ask.placeholder, ask.value = title, placeholder, ""
        ask.add_class("-open")
        ask.focus()

    def _list_sources(self) -> None:
        sources = self.query_one("#sources", OptionList)
        sources.clear_options()
        for source in self.shown.sources:
            sources.add_option(Option(("▸ " if source == self.source else "  ") + place(Path(source))))

    def _counted(self, opened: Opened) -> str:
        if opened.counting is not None:
            return f"{rows_of(opened.known)} so far, {percent(opened.counting)}"
        return rows_of(opened.known)

    def _show_row(self, row: RowView) -> None:
        tokens = self.query_one(TokenView)
        if row.pieces:
            tokens.show(row.pieces, row.limit)
        else:
            tokens.show_text(row.raw)
        unknown = self.opened is not None and not self.opened.form
        self._say(row.problem, self.opened.hint if self.opened and unknown else "", keep=True)
        known = self.opened.known if self.opened else 0
        parts = [f"row {count(row.row + 1)} of {count(known)}", self.opened.form if self.opened else ""]
        if row.pieces:
            parts.append(f"{count(row.tokens)} tokens, {count(row.trained)} trained")
        if row.lost or row.tokens > row.limit > 0:
            parts.append(f"cut at {count(row.limit)}: {count(row.lost)} trained tokens lost")
        if row.hidden:
            parts.append(f"{count(row.hidden)} more are not shown")
        self.query_one("#row").border_title = " · ".join(part for part in parts if part)
        self._about()

    def _about(self) -> None:
        opened = self.opened
        if opened is None:
            return
        view = self.shown.view
        model = Path(view.model).name if Path(view.model).is_absolute() else view.model
        how = f"as {one_line(model, 40)} sees it, trained on: {view.train_on} ({self.shown.recipe})"
        if self.raw:
            how = "as it stands in the file"
        found = opened.evidence if opened.form else f"{opened.name}: no form that is known"
        lines = [f"{found} · {size(opened.size)}", self.shown.problem or how]
        if opened.broken:
            lines.append(f"the rest cannot be read: {opened.broken}")
        self.query_one("#about", Static).update("\n".join(lines))

    def _say(self, problem: str, hint: str, keep: bool = False) -> None:
        """What is wrong, in the place of the row; `keep` leaves the row in sight."""
        shown = self.query_one("#problem", Static)
        shown.update(f"✗ {problem}" + (f"\n  {hint}" if hint else ""))
        shown.set_class(bool(problem), "-shown")
        if problem and not keep:
            self.query_one("#about", Static).update("")
            self.query_one(TokenView).show_text("")
            self.query_one("#bars", Static).update("")

    def _show_lengths(self) -> None:
        assert self.lengths is not None
        found, limit = self.lengths, self.shown.view.max_seq_length
        pane = self.query_one("#lengths")
        width = max(20, pane.content_size.width)
        bars = histogram(found, limit, width)
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
