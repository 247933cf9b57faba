"""Runs: find them, overlay their curves, compare two, and go on from any of them."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from rich.text import Text
from textual import on, work
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.errors import ConfigError, FtError
from engine.runs import registry
from engine.runs.filter import FilterError, Predicate, compile_filter
from engine.runs.fork import fork_text
from engine.runs.index import RunSummary
from engine.runs.run import Run
from screens.compare import CompareScreen
from screens.messages import RunsChanged, WentWrong
from screens.run_curves import CurvesScreen
from screens.run_details import described
from screens.widgets.chart import Chart
from screens.widgets.confirm import Confirm
from screens.widgets.runs_table import RunsTable

SORTS = ("newest", "best", "loss", "name")
EMPTY = """\
[b]No runs yet.[/b]

A run is one training: its recipe, its curve, its checkpoints and what came of them.

  [b]1[/b] then [b]t[/b]   trains the starter recipe here and now, without a network
  [b]4[/b]          opens the recipe editor; start from there
  [b]ft train[/b]   in any terminal: the run shows up here by itself"""
READING = "Reading the runs …"
NO_MATCH = "No run matches this filter.\n\n[b]escape[/b] clears it; [b]/[/b] changes it."
PLACEHOLDER = "loss<1  lr>1e-4  status:completed  name:sql  model:qwen  age<2d  or any word"


class Removed(Message):
    """Runs that are deleted."""

    def __init__(self, ids: frozenset[str]) -> None:
        super().__init__()
        self.ids = ids


class Forked(Message):
    """The recipe of a run, under a name of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class RunsScreen(CurvesScreen):
    """The list on the left or top, curves and details beside or below it, or behind a tab where it is narrow."""

    SCOPE = "runs"
    CSS_PATH = "runs.tcss"
    AUTO_FOCUS = "RunsTable"

    filter = query_one("#filter", Input)

    def __init__(self) -> None:
        super().__init__()
        self.sort = SORTS[0]
        self.meant: Predicate = lambda run: True
        self.gone: frozenset[str] = frozenset()
        """Deleted here, and perhaps still in the list that the app has."""

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="filter-line"):
            yield Static("/", id="slash")
            yield Input(placeholder=PLACEHOLDER, id="filter", compact=True)
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
        self._show_tabs()
        self._list()

    def on_resize(self) -> None:
        self._describe()

    def on_screen_resume(self) -> None:
        self._list()

    # What the app, the workers and the person say

    def on_runs_changed(self, message: RunsChanged) -> None:
        self._list()

    def on_removed(self, message: Removed) -> None:
        self.gone |= message.ids
        self.slots = {run_id: slot for run_id, slot in self.slots.items() if run_id not in message.ids}
        self._list()

    def on_forked(self, message: Forked) -> None:
        self.host.edit_recipe(text=message.text)

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
        self._list()

    @on(Input.Submitted, "#filter")
    def filter_done(self) -> None:
        self.table.focus()

    # The list

    def _list(self) -> None:
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

    def _count(self, shown: int, there: int) -> None:
        parts = [f"{shown} of {there} runs" if shown != there else f"{there} run{'s' if there != 1 else ''}"]
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
            self.table.focus()
        elif self.slots:
            self.slots = {}
            self._selected()

    def action_select(self) -> None:
        run = self.table.run
        if run is None:
            return
        if run.id in self.slots:
            del self.slots[run.id]
        else:
            used = set(self.slots.values())
            self.slots[run.id] = next(slot for slot in range(len(used) + 1) if slot not in used)
        self._selected()

    def _selected(self) -> None:
        self.table.mark(self.slots)
        self._count(len(self.table.rows), len(self.host.runs))
        self._read_now()

    def action_open(self) -> None:
        if run := self._at_cursor():
            self.host.show_run(run.id)

    def action_compare(self) -> None:
        there = {run.id: run for run in self.host.runs}
        pair = [there[i] for i, _ in sorted(self.slots.items(), key=lambda item: item[1]) if i in there]
        here = self.table.run
        if len(pair) == 1 and here is not None and here.id != pair[0].id:
            pair.append(here)
        if len(pair) != 2:
            error = ConfigError(
                f"Two runs can be compared, and {len(pair)} are selected.",
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
            self.host.fail(ConfigError(f"Run {run.id} is training already.", "enter watches it."))
            return
        await self.host.resume_run(run.id)

    def action_fork(self) -> None:
        if run := self._at_cursor():
            self._fork(run.folder, frozenset(other.name for other in self.host.runs))

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _fork(self, folder: Path, taken: frozenset[str]) -> None:
        try:
            self.post_message(Forked(fork_text(folder, taken)))
        except FtError as error:
            self.post_message(WentWrong(error))

    def action_chat(self) -> None:
        if run := self._at_cursor():
            self.host.chat_with(run.id)

    @work
    async def action_delete(self) -> None:
        there = {run.id: run for run in self.host.runs}
        runs = [there[run_id] for run_id in self.slots if run_id in there]
        runs = runs or [run for run in [self._at_cursor()] if run]
        living = [run for run in runs if run.alive]
        if living:
            names = ", ".join(run.id for run in living)
            self.host.fail(ConfigError(f"{names}: training, so it stays.", "Stop it first: enter, then x."))
            return
        if not runs:
            return
        question = f"Delete run {runs[0].id}?" if len(runs) == 1 else f"Delete {len(runs)} runs?"
        details = "Checkpoints, adapter and curves go with it:\n" + "\n".join(str(r.folder) for r in runs)
        if await self.app.push_screen_wait(Confirm(question, "Delete", details)):
            self._remove(runs)

    @work(thread=True, group="remove", exit_on_error=False)
    def _remove(self, runs: list[RunSummary]) -> None:
        removed = set()
        for run in runs:
            try:
                Run(run.folder, run.id).remove()
                removed.add(run.id)
            except FileNotFoundError:
                removed.add(run.id)  # somebody else was faster
            except FtError as error:
                self.post_message(WentWrong(error))
        self.post_message(Removed(frozenset(removed)))

    def action_sort(self) -> None:
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        self._list()

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

    def _at_cursor(self) -> RunSummary | None:
        """The run that an action is about; where there is none, the person is told."""
        if self.table.run is None:
            hint = (
                "escape clears the filter." if self.host.runs else "1 and then t trains the starter recipe."
            )
            self.host.fail(ConfigError("There is no run here.", hint))
        return self.table.run


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
