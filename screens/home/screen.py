"""Home: what this machine is and can train, the recent runs, and the one next thing to do."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text
from textual import work
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import FtError
from screens import format as words
from screens.base import FtScreen
from screens.home.next_step import NextStep, next_step
from screens.intents import ChatWith, EditRecipe, ShowRun
from screens.messages import MachineSampled, RunsChanged
from screens.run_row import coloured, row

if TYPE_CHECKING:
    from engine.hardware.probe import Machine

RECIPE = Path("train.yml")
RECENT = 30
"""Runs that are listed; the Runs screen has all."""


@dataclass(frozen=True)
class Ability:
    """This machine and the models that it can train."""

    machine: "Machine"
    backend: str
    largest: dict[str, str]


class Looked(Message):
    """The machine and this folder have been read."""

    def __init__(self, ability: Ability, recipe: Path | None) -> None:
        super().__init__()
        self.ability = ability
        self.recipe = recipe


class HomeScreen(FtScreen):
    """The machine, recent runs, and what to do next."""

    SCOPE = "home"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = ""

    def __init__(self) -> None:
        super().__init__()
        self._ability: Ability | None = None
        self._recipe: Path | None = None
        self._next: NextStep | None = None
        self._listed: list[tuple[str, str]] = []
        self._counted = False
        """True once the runs are known."""

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="home"):
            with Vertical(id="side"):
                yield Static(id="next", markup=False)
                yield Static(id="machine", markup=False)
            with Vertical(id="recent"):
                yield OptionList(id="runs", markup=False)
                yield Static(id="empty", markup=False)

    def on_mount(self) -> None:
        for name, title in (("#next", "next"), ("#machine", "this machine"), ("#recent", "recent runs")):
            self.query_one(name).border_title = title
        self.query_one("#empty", Static).update(
            "No runs yet. enter opens a first recipe and its plan; f5 starts it there. "
            "t trains the starter now.\n\nRuns started on the command line appear here too."
        )
        self._show_machine()
        self._show_runs()

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.look)

    @work(thread=True, exclusive=True, group="look")
    def look(self) -> None:
        """Probe the machine (some 100 ms) and look for a recipe here."""
        from engine.hardware.probe import probe  # all of this takes a while: not before the first picture
        from engine.planning.backend_choice import choose_backend
        from engine.planning.largest_model import largest_trainable

        machine = probe()
        try:
            backend = choose_backend(machine).note
        except FtError as error:
            backend = f"{error.message} {error.hint}"
        recipe = RECIPE.absolute() if RECIPE.is_file() else None
        self.post_answer(Looked(Ability(machine, backend, largest_trainable(machine)), recipe))

    def on_looked(self, message: Looked) -> None:
        self._ability, self._recipe = message.ability, message.recipe
        self._show_machine()
        self._show_next()

    def on_runs_changed(self, message: RunsChanged) -> None:
        self._counted = True
        self._show_runs()

    def on_machine_sampled(self, message: MachineSampled) -> None:
        self._show_machine()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_runs)

    # What is shown

    def _show_next(self) -> None:
        if not self._counted:
            return
        self._next = next_step(self.host.runs, self._recipe)
        text = Text(f"{self._next.title}\n", "bold")
        text.append(f"{self._next.why}\n\n", "not bold")
        text.append(" enter ", "bold reverse")
        text.append(f" {ACTS[self._next.act]}", "not bold")
        if self._next.act == "starter":
            text.append("\n")
            text.append(" t     ", "bold reverse")
            text.append(" trains it now", "not bold")
        self.query_one("#next", Static).update(text)

    def _show_machine(self) -> None:
        sample = self.host.samples[-1] if self.host.samples else None
        lines: list[tuple[str, str]] = []
        if self._ability is not None:
            lines += described(self._ability)
        if sample is not None and sample.memory_used is not None and sample.memory_total:
            share = sample.memory_used / sample.memory_total
            used = f"{words.size(sample.memory_used)} of {words.size(sample.memory_total)} used"
            lines.append(("memory", f"{bar(share, 8)} {used}"))
        if sample is not None and sample.disk_free is not None:
            lines.append(("disk", f"{words.size(sample.disk_free)} free"))
        if not lines:
            self.query_one("#machine", Static).update("Checking the machine …")
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in lines:
            table.add_row(name, Text(value))
        self.query_one("#machine", Static).update(table)

    def _show_runs(self) -> None:
        """List the runs; the rows are made again only where they differ, and the highlighted run stays so."""
        self._show_next()
        recent = self.host.runs[:RECENT]
        self.query_one("#empty").display = not recent and self._counted
        options = self.query_one("#runs", OptionList)
        options.display = bool(recent)
        width, now = max(self.query_one("#recent").size.width - 2, 30), time.time()
        listed = [(run.id, row(run, width, now)) for run in recent]
        if listed == self._listed:
            return
        at = options.highlighted
        before = self._listed[at][0] if at is not None and at < len(self._listed) else None
        self._listed = listed
        options.set_options(
            Option(coloured(text, run), id=run.id) for run, (_, text) in zip(recent, listed, strict=True)
        )
        ids = [run_id for run_id, _ in listed]
        if ids:
            options.highlighted = ids.index(before) if before in ids else 0

    # What a person does

    @work(exclusive=True, group="next")
    async def action_next(self) -> None:
        step = self._next
        match step:
            case NextStep(act="watch"):
                self.host.open(ShowRun(step.target))
            case NextStep(act="resume"):
                await self.host.resume_run(step.target)
            case NextStep(act="chat"):
                self.host.open(ChatWith(step.target))
            case _:
                self.action_recipe()

    @work(exclusive=True, group="next")
    async def action_train_starter(self) -> None:
        await self.host.start_run(starter_text(), None)

    def action_recipe(self) -> None:
        if self._recipe is not None:
            self.host.open(EditRecipe(path=self._recipe))
        else:
            self.host.open(EditRecipe(text=starter_text()))

    def action_runs(self) -> None:
        if self.host.runs:
            self.query_one("#runs").focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option_id is not None:
            self.host.open(ShowRun(event.option_id))


ACTS = {
    "watch": "opens it",
    "resume": "resumes it from its last checkpoint",
    "chat": "opens a chat with it",
    "recipe": "opens the recipe",
    "starter": "opens the starter's recipe",
}


def starter_text() -> str:
    """The recipe that is a person's first."""
    from engine.config.profiles import profile_text

    return profile_text("starter")


def described(ability: Ability) -> list[tuple[str, str]]:
    """The machine in a few lines, each with its name."""
    machine = ability.machine
    cores = "1 core" if machine.cores == 1 else f"{machine.cores} cores"
    lines = [("CPU", f"{machine.cpu}, {cores}{', bf16' if machine.bf16 else ''}")]
    lines += [("GPU", f"{gpu.name}, {words.size(gpu.total_bytes)}") for gpu in machine.gpus]
    lines.append(("trains", f"with {ability.backend}"))
    if ability.largest:
        sizes = ", ".join(f"{method} {size}" for method, size in ability.largest.items())
        lines.append(("up to", f"{sizes} parameters, in free memory"))
    else:
        lines.append(("up to", "nothing now: too little memory is free"))
    return lines


def bar(share: float, width: int) -> str:
    """A share from 0 to 1 as a bar."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "█" * full + "░" * (width - full)
