"""Runs: find them, overlay their curves, compare two, and continue from any of them."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from textual import on, work
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static

from engine import paths
from engine.errors import ConfigError
from engine.runs.directory import registry
from engine.runs.index.filter import FilterError, Predicate, compile_filter
from engine.runs.index.summary import RunSummary
from screens.base import FtScreen
from screens.charts.controls import ChartControls, Exported, next_axis, rougher, smoother, with_chart_keys
from screens.charts.widget import Chart
from screens.intents import ChatWith, EditRecipe, ShowRun
from screens.messages import RunsChanged
from screens.runs.changes import Forked, Removed, fork, question_of, remove
from screens.runs.compare import CompareScreen
from screens.runs.curve_reader import CurveNews
from screens.runs.curves import CurveChart, Overlay
from screens.runs.details import described
from screens.runs.evaluations import EvaluationsSheet
from screens.runs.order import ORDERS, order_text, ordered
from screens.runs.selection import SLOTS, Selection
from screens.runs.suggester import FilterSuggester
from screens.runs.table import RunsTable
from screens.use.flow import use
from screens.widgets.confirm import Confirm
from screens.widgets.panes import Panes

PANES = ("list", "chart")
EMPTY = """\
[b]No runs yet.[/b]

A run is one training: its recipe, its curve, its checkpoints and results.
Evaluations, exports and servers of its model are listed here too.

  [b]1[/b] then [b]t[/b]   trains the starter recipe now, offline
  [b]4[/b]          opens the recipe editor; start from there
  [b]ft train[/b]   in any terminal; the run appears here"""
READING = "Reading the runs …"
NO_MATCH = "No run matches this filter.\n\n[b]escape[/b] clears it; [b]/[/b] changes it."
PAUSE_S = 0.12
"""Seconds that the cursor has to rest on a run before its curve is read."""
PLACEHOLDER = "any word, or loss<1  lr>1e-4  tag:sql  status:completed  model:qwen  age<2d"


@with_chart_keys
class RunsScreen(FtScreen):
    """The list on the left or top, curves and details beside or below it, or behind a tab where it is narrow."""

    SCOPE = "runs"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "RunsTable"

    filter = query_one("#filter", Input)
    table = query_one(RunsTable)
    chart = query_one(Chart)

    def __init__(self) -> None:
        super().__init__()
        self.selection = Selection()
        self.gone: frozenset[str] = frozenset()
        """Deleted here, and perhaps still in the list that the app has."""
        self.curves = CurveChart(self, lambda: self.chart)
        self.controls = ChartControls(self, lambda: [self.chart])
        self._rest: Timer | None = None
        self.sort = ORDERS[0]
        self.meant: Predicate = lambda run: True
        self.unread = 0
        """Runs that are not in the list yet."""

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="filter-line"):
            yield Static("/", id="slash")
            suggester = FilterSuggester(lambda: self.host.runs)
            yield Input(placeholder=PLACEHOLDER, suggester=suggester, id="filter", compact=True)
            yield Static(id="count")
        yield Static(id="filter-error", markup=False)
        yield Panes(PANES)
        with Horizontal(id="runs"):
            yield RunsTable()
            with Vertical(id="side"):
                yield Chart(id="curves")
                yield Static(id="details", markup=False)
        yield Static(id="empty")

    def on_mount(self) -> None:
        kept = self.host.preferences
        self.sort = kept.runs_order if kept.runs_order in ORDERS else ORDERS[0]
        self.filter.value = kept.runs_filter
        self.show_list()

    def on_resize(self) -> None:
        self._describe()

    def on_screen_resume(self) -> None:
        self.show_list()

    # What the app, the workers and the person say

    def on_runs_changed(self, message: RunsChanged) -> None:
        self.unread = message.unread
        self.show_list()

    def on_runs_table_moved(self, message: RunsTable.Moved) -> None:
        self._describe()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(PAUSE_S, self._show_curves)

    def on_runs_table_opened(self, message: RunsTable.Opened) -> None:
        self.host.open(ShowRun(message.run.id))

    @on(Input.Changed, "#filter")
    def filter_typed(self, event: Input.Changed) -> None:
        error = self.query_one("#filter-error", Static)
        try:
            self.meant = compile_filter(event.value)
            error.display = False
        except FilterError as problem:
            error.update(f"{' ' * problem.start}^ {problem.message} {problem.hint}")
            error.display = True
            with contextlib.suppress(FilterError):  # the terms before the mistake hold
                self.meant = compile_filter(event.value[: problem.start].rpartition(" ")[0])
        self.show_list()

    @on(Input.Submitted, "#filter")
    def filter_done(self) -> None:
        self._keep()
        self.table.focus()

    # The list

    def show_list(self) -> None:
        """Show the runs that are meant, in the order that is wanted."""
        there = [run for run in self.host.runs if run.id not in self.gone]
        self.gone &= frozenset(run.id for run in self.host.runs)
        meant = ordered([run for run in there if self.meant(run)], self.sort)
        self.table.show(meant)
        self._count(len(meant), len(there))
        empty = self.query_one("#empty", Static)
        empty.update(NO_MATCH if there else READING if registry.folders() else EMPTY)
        empty.display = not meant
        self.query_one("#runs").display = bool(meant)
        self.set_class(not meant, "-empty")
        self._describe()
        self._show_curves()

    def show_selection(self) -> None:
        """Show which runs are selected, and their curves."""
        self.table.mark(self.selection.slots)
        self._count(len(self.table.rows), len(self.host.runs))
        self._show_curves()

    def _show_curves(self) -> None:
        """Show the curves of the selected runs, or of the one under the cursor."""
        selected = self.selection.among(self.host.runs)
        drawn = tuple((run, slot) for run, slot in selected if slot < SLOTS)
        if not drawn and self.table.run is not None:
            self.curves.show(Overlay(((self.table.run, 0),)))
        else:
            self.curves.show(Overlay(drawn, len(selected)))

    @property
    def settled(self) -> bool:
        """True if the chart shows all that it is to show."""
        return self.curves.settled

    def _count(self, shown: int, there: int) -> None:
        parts = [f"{shown} of {there} runs" if shown != there else f"{there} run{'s' if there != 1 else ''}"]
        if self.unread:
            parts.append(f"reading {self.unread} more")
        if self.selection.slots:
            parts.append(f"{len(self.selection.slots)} selected")
        if self.sort != ORDERS[0]:
            parts.append(f"by {order_text(self.sort, self.table.rows)}")
        self.query_one("#count", Static).update(" · ".join(parts))

    def _describe(self) -> None:
        run = self.table.run
        names = {"good": "text-success", "warn": "text-warning", "bad": "text-error"}
        styles = {kind: _plain(self.app.theme_variables.get(name, "")) for kind, name in names.items()}
        self.query_one("#details", Static).update(
            described(run, styles, self.has_class("-narrow")) if run else ""
        )

    # Actions: the list

    def action_filter(self) -> None:
        self._turn_to("list")
        self.filter.focus()

    def action_clear(self) -> None:
        if self.filter.value or self.filter.has_focus:
            self.filter.value = ""
            self._keep()
            self.table.focus()
        elif self.selection.slots:
            self.selection.clear()
            self.show_selection()

    def action_sort(self) -> None:
        self.sort = ORDERS[(ORDERS.index(self.sort) + 1) % len(ORDERS)]
        self._keep()
        self.show_list()

    def _keep(self) -> None:
        """Let filter and order be the same the next time."""
        self.host.change(runs_filter=self.filter.value, runs_order=self.sort)

    @on(Panes.Chosen)
    def _pane_chosen(self, message: Panes.Chosen) -> None:
        self._turn_to(message.name)

    def action_pane(self) -> None:
        self._turn_to("list" if self.has_class("-chart") else "chart")

    # Actions: the runs

    def on_removed(self, message: Removed) -> None:
        self.gone |= message.ids
        self.selection.drop(message.ids)
        self.show_list()

    def on_forked(self, message: Forked) -> None:
        self.host.open(EditRecipe(text=message.text))

    def action_select(self) -> None:
        run = self.table.run
        if run is not None:
            self.selection.toggle(run.id)
            self.show_selection()

    def action_open(self) -> None:
        if run := self._at_cursor():
            self.host.open(ShowRun(run.id))

    def action_compare(self) -> None:
        pair = [run for run, _ in self.selection.among(self.host.runs)]
        here = self.table.run
        if len(pair) == 1 and here is not None and here.id != pair[0].id:
            pair.append(here)
        if len(pair) != 2:
            error = ConfigError(
                f"Comparing takes two runs; {len(pair)} are selected.",
                "Select two with space; or select one, and put the cursor on the other.",
            )
            self.host.fail(error)
            return
        self.app.push_screen(CompareScreen(pair[0], pair[1]))

    async def action_resume(self) -> None:
        run = self._at_cursor()
        if run is None:
            return
        if run.alive:
            self.host.fail(
                ConfigError(
                    f"Run {run.id} is {'already training' if run.kind == 'train' else 'at work already'}.",
                    "enter watches it.",
                )
            )
            return
        await self.host.resume_run(run.id)

    def _training_at_cursor(self) -> RunSummary | None:
        """The run at the cursor; None, with a message, where it has neither recipe nor weights of its own."""
        run = self._at_cursor()
        if run is None or run.kind == "train":
            return run
        self.host.fail(
            ConfigError(f"{run.name} trained nothing: it is of the kind {run.kind}.", "Choose a training.")
        )
        return None

    def action_fork(self) -> None:
        if run := self._training_at_cursor():
            self._fork(run.folder, frozenset(other.name for other in self.host.runs))

    def action_continue(self) -> None:
        if run := self._training_at_cursor():
            self._fork(run.folder, frozenset(other.name for other in self.host.runs), run.id)

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _fork(self, folder: Path, taken: frozenset[str], start: str | None = None) -> None:
        fork(folder, taken, start, self.post_message)

    def action_chat(self) -> None:
        if run := self._training_at_cursor():
            self.host.open(ChatWith(run.id))

    @work
    async def action_use(self) -> None:
        if run := self._training_at_cursor():
            await use(self, str(run.folder), run.name)

    def action_evaluations(self) -> None:
        if run := self._at_cursor():
            self.app.push_screen(EvaluationsSheet(run))

    @work
    async def action_delete(self) -> None:
        runs = [run for run, _ in self.selection.among(self.host.runs)]
        runs = runs or [run for run in [self._at_cursor()] if run]
        living = [run for run in runs if run.alive]
        if living:
            names = ", ".join(run.id for run in living)
            self.host.fail(
                ConfigError(f"{names}: still training, so not deleted.", "Stop it first: enter, then x.")
            )
            return
        if not runs:
            return
        if await self.app.push_screen_wait(Confirm(*question_of(runs))):
            self._remove(runs)

    @work(thread=True, group="remove", exit_on_error=False)
    def _remove(self, runs: list[RunSummary]) -> None:
        remove(runs, self.post_message)

    def _at_cursor(self) -> RunSummary | None:
        """The run that an action is about; where there is none, an error is shown."""
        if self.table.run is None:
            hint = (
                "escape clears the filter." if self.host.runs else "1 and then t trains the starter recipe."
            )
            self.host.fail(ConfigError("There is no run to act on.", hint))
        return self.table.run

    # Actions: the chart

    @on(CurveNews)
    def _curve_news(self, message: CurveNews) -> None:
        self.curves.take(message)

    def on_chart_moved(self) -> None:
        self.curves.refine()

    def on_exported(self, message: Exported) -> None:
        self.notify("\n".join(map(str, message.files)), title="Chart saved")

    def action_export(self) -> None:
        if self.chart.lines:
            self.controls.export(paths.home() / "exports")
        else:
            self.host.fail(
                ConfigError("There is no curve to save.", "Put the cursor on a run that has steps.")
            )

    def action_axis(self) -> None:
        self.curves.axis = next_axis(self.curves.axis)
        self.chart.reset()
        self.curves.draw()

    def action_log(self) -> None:
        self.chart.log_axis = not self.chart.log_axis

    def action_smoother(self) -> None:
        self._smooth(smoother(self.host.preferences.smoothing))

    def action_rougher(self) -> None:
        self._smooth(rougher(self.host.preferences.smoothing))

    @work(exclusive=True, group="smooth")
    async def _smooth(self, weight: float) -> None:
        self.host.change(smoothing=weight)
        await self.curves.smooth(weight)

    # Narrow terminals: one pane at a time

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Turning to the other pane is offered only where one is hidden."""
        return self.has_class("-narrow") if action == "pane" else True

    def _turn_to(self, pane: str) -> None:
        self.set_class(pane == "chart", "-chart")
        self.query_one(Panes).here = pane


def _plain(colour: str) -> str:
    """A theme's colour as rich reads it; `auto` and shades are left to the terminal."""
    return colour if colour.startswith("#") and len(colour) == 7 else ""
