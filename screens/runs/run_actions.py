"""Actions on runs: the one under the cursor of the Runs screen, or those that are selected."""

from pathlib import Path

from textual import work
from textual.getters import query_one
from textual.message import Message

from engine.errors import ConfigError, FtError
from engine.runs.directory.fork import continued_text, fork_text
from engine.runs.directory.run import Run
from engine.runs.index.summary import RunSummary
from screens.charts.actions import ChartScreen
from screens.intents import ChatWith, EditRecipe, ShowRun
from screens.messages import WentWrong
from screens.runs.compare import CompareScreen
from screens.runs.evaluations import EvaluationsSheet
from screens.runs.selection import Selection
from screens.runs.table import RunsTable
from screens.use.flow import use
from screens.widgets.confirm import Confirm

NAMED = 8
"""Folders that are named before they are deleted; more would leave the buttons no room."""


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


class RunActions(ChartScreen):
    """A screen with a table of runs. A subclass shows the table, the selection and their curves."""

    table = query_one(RunsTable)

    def __init__(self) -> None:
        super().__init__()
        self.selection = Selection()
        self.gone: frozenset[str] = frozenset()
        """Deleted here, and perhaps still in the list that the app has."""

    def show_list(self) -> None:
        """Show the runs as they are now."""
        raise NotImplementedError

    def show_selection(self) -> None:
        """Show which runs are selected."""
        raise NotImplementedError

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
        """Open the recipe of a run under another name; from `start` on, it starts from what that run has trained."""
        try:
            text = continued_text(folder, start, taken) if start else fork_text(folder, taken)
            self.post_message(Forked(text))
        except FtError as error:
            self.post_message(WentWrong(error))

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
        question = f"Delete run {runs[0].id}?" if len(runs) == 1 else f"Delete {len(runs)} runs?"
        named = [str(run.folder) for run in runs[:NAMED]]
        named += [f"and {len(runs) - NAMED} more"] if len(runs) > NAMED else []
        details = "\n".join(["Checkpoints, adapter and curves are deleted too:", *named])
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

    def _at_cursor(self) -> RunSummary | None:
        """The run that an action is about; where there is none, an error is shown."""
        if self.table.run is None:
            hint = (
                "escape clears the filter." if self.host.runs else "1 and then t trains the starter recipe."
            )
            self.host.fail(ConfigError("There is no run to act on.", hint))
        return self.table.run
