"""Runs: find them, overlay their curves, compare two, and go on from any of them."""

import contextlib
from collections.abc import Iterable

from rich.text import Text
from textual import on
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.runs.directory import registry
from engine.runs.index.filter import FilterError, Predicate, compile_filter
from engine.runs.index.summary import RunSummary
from screens.charts.widget import Chart
from screens.messages import RunsChanged
from screens.runs.actions import RunActionsScreen
from screens.runs.details import described
from screens.runs.filter import FilterSuggester
from screens.runs.table import RunsTable

SORTS = ("newest", "best", "loss", "name")
EMPTY = """\
[b]No runs yet.[/b]

A run is one training: its recipe, its curve, its checkpoints and what came of them.

  [b]1[/b] then [b]t[/b]   trains the starter recipe here and now, without a network
  [b]4[/b]          opens the recipe editor; start from there
  [b]ft train[/b]   in any terminal: the run shows up here by itself"""
READING = "Reading the runs …"
NO_MATCH = "No run matches this filter.\n\n[b]escape[/b] clears it; [b]/[/b] changes it."
PLACEHOLDER = "any word, or loss<1  lr>1e-4  tag:sql  status:completed  model:qwen  age<2d"


class RunsScreen(RunActionsScreen):
    """The list on the left or top, curves and details beside or below it, or behind a tab where it is narrow."""

    SCOPE = "runs"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "RunsTable"

    filter = query_one("#filter", Input)

    def __init__(self) -> None:
        super().__init__()
        self.sort = SORTS[0]
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
        yield Static(id="tabs", markup=False)
        with Horizontal(id="runs"):
            yield RunsTable()
            with Vertical(id="side"):
                yield Chart(id="curves")
                yield Static(id="details", markup=False)
        yield Static(id="empty")

    def on_mount(self) -> None:
        kept = self.host.preferences
        self.sort = kept.runs_order if kept.runs_order in SORTS else SORTS[0]
        self.filter.value = kept.runs_filter
        self._show_tabs()
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
        self._read_soon()

    def on_runs_table_opened(self, message: RunsTable.Opened) -> None:
        self.host.show_run(message.run.id)

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
        meant = sorted_runs([run for run in there if self.meant(run)], self.sort)
        self.table.show(meant)
        self._count(len(meant), len(there))
        empty = self.query_one("#empty", Static)
        empty.update(NO_MATCH if there else READING if registry.folders() else EMPTY)
        empty.display = not meant
        self.query_one("#runs").display = bool(meant)
        self.set_class(not meant, "-empty")
        self._describe()
        self._read_now()

    def show_selection(self) -> None:
        self.table.mark(self.slots)
        self._count(len(self.table.rows), len(self.host.runs))
        self._read_now()

    def _count(self, shown: int, there: int) -> None:
        parts = [f"{shown} of {there} runs" if shown != there else f"{there} run{'s' if there != 1 else ''}"]
        if self.unread:
            parts.append(f"reading {self.unread} more")
        if self.slots:
            parts.append(f"{len(self.slots)} selected")
        if self.sort != SORTS[0]:
            parts.append(f"by {self.sort}")
        self.query_one("#count", Static).update(" · ".join(parts))

    def _describe(self) -> None:
        run = self.table.run
        names = {"good": "text-success", "warn": "text-warning", "bad": "text-error"}
        styles = {kind: _plain(self.app.theme_variables.get(name, "")) for kind, name in names.items()}
        self.query_one("#details", Static).update(
            described(run, styles, self.has_class("-narrow")) if run else ""
        )

    # Actions, in the order of the table

    def action_filter(self) -> None:
        self._turn_to("list")
        self.filter.focus()

    def action_clear(self) -> None:
        if self.filter.value or self.filter.has_focus:
            self.filter.value = ""
            self._keep()
            self.table.focus()
        elif self.slots:
            self.slots = {}
            self.show_selection()

    def action_sort(self) -> None:
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        self._keep()
        self.show_list()

    def _keep(self) -> None:
        """Let filter and order be the same the next time."""
        self.host.change(runs_filter=self.filter.value, runs_order=self.sort)

    def action_pane(self) -> None:
        self._turn_to("list" if self.has_class("-chart") else "chart")

    # The narrow form

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Turning to the other pane is offered only where one is hidden."""
        return self.has_class("-narrow") if action == "pane" else True

    def _turn_to(self, pane: str) -> None:
        self.set_class(pane == "chart", "-chart")
        self._show_tabs()

    def _show_tabs(self) -> None:
        chart = self.has_class("-chart")
        text = Text(" ")
        text.append(" List ", "" if chart else "bold reverse")
        text.append(" Chart ", "bold reverse" if chart else "")
        text.append("   v turns to the other", "dim")
        self.query_one("#tabs", Static).update(text)


def sorted_runs(runs: list[RunSummary], by: str) -> list[RunSummary]:
    """The runs, newest first, or best, lowest loss or name first; those without a number come last."""
    if by == "name":
        return sorted(runs, key=lambda run: run.name.casefold())
    if by == "newest":
        return runs

    def figure(run: RunSummary) -> tuple[bool, float]:
        value = run.state.best if by == "best" else run.state.loss
        return (True, 0.0) if value is None or value != value else (False, value)

    return sorted(runs, key=figure)


def _plain(colour: str) -> str:
    """A theme's colour as rich reads it; `auto` and shades are left to the terminal."""
    return colour if colour.startswith("#") and len(colour) == 7 else ""
