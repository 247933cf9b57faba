"""Recipe: `train.yml` as text and as a form, what is wrong with it, and what it will take."""

import asyncio
from collections.abc import Iterable

from textual import events, on, work
from textual.app import SuspendNotSupported
from textual.containers import Horizontal, Vertical
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from engine.config.problems import Problem
from engine.errors import ConfigError, FtError, OutOfMemoryError
from screens.recipe.dialogs import ProfileList
from screens.recipe.document import NAME, check, counted_problems
from screens.recipe.editor import Editor
from screens.recipe.external_editor import edited
from screens.recipe.files import RecipeFiles
from screens.recipe.form import Form
from screens.recipe.plan_view import PlanView
from screens.widgets.panes import Panes

PANES = ("text", "form", "plan")


class RecipeScreen(RecipeFiles):
    """The text is what counts: the form shows it and edits it in place, the plan is made from it."""

    SCOPE = "recipe"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = ""
    """Nothing: the number keys go on leading to the other screens until a person starts to edit."""

    pane: reactive[str] = reactive("text")
    """The one in front where there is no room for all."""

    def body(self) -> Iterable[Widget]:
        yield Panes(PANES)
        with Vertical(id="empty"):
            yield Static(f"There is no {NAME} in this folder.", id="empty-title", markup=False)
            yield Static("Pick a profile to start from with ↑ ↓ and enter, or press o to open a file.")
            yield ProfileList()
        with Horizontal(id="panes"):
            with Vertical(id="text-pane"):
                yield Editor()
            yield Form()
            yield PlanView()

    def on_mount(self) -> None:
        self.query_one(Form).border_title = "form"
        self.query_one(PlanView).border_title = "plan"
        self.set_class(True, "-at-text")
        self.call_after_refresh(self.open_here)

    # Panes

    def watch_pane(self, pane: str) -> None:
        for name in PANES:
            self.set_class(name == pane, f"-at-{name}")
        if self.is_mounted:
            self.query_one(Panes).here = pane

    def action_edit(self) -> None:
        self._enter("text")

    def action_next_pane(self) -> None:
        self._enter(PANES[(PANES.index(self.pane) + 1) % len(PANES)])

    @on(Panes.Chosen)
    def _pane_chosen(self, message: Panes.Chosen) -> None:
        self._enter(message.name)

    def _enter(self, pane: str) -> None:
        self.pane = pane
        targets: dict[str, Widget | None] = {
            "text": self.query_one(Editor),
            "form": self.query_one(Form).fields,
            "plan": self.query_one(PlanView),
        }
        self.set_focus(targets[pane])  # at once: what is typed next is meant for it
        if self.focused is not targets[pane]:  # a pane that is only now shown
            self.call_after_refresh(self.set_focus, targets[pane])

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for pane, kind in (("text", Editor), ("form", Form), ("plan", PlanView)):
            if any(isinstance(one, kind) for one in event.widget.ancestors_with_self):
                self.pane = pane

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a recipe there is only opening one."""
        if action == "edit" and isinstance(self.focused, Editor):
            return False
        needs = ("save", "save_as", "save_profile", "start", "diff", "edit", "next_pane", "next_problem")
        return self.opened or action not in (*needs, "undo", "redo", "outside")

    def watch_opened(self) -> None:
        self.refresh_bindings()

    def action_outside(self) -> None:
        """Hand the terminal over; the app waits, since two programs cannot draw on it."""
        try:
            with self.app.suspend():
                text = edited(self.text)
        except SuspendNotSupported:
            self.host.fail(ConfigError("This terminal cannot be handed to another program."))
            return
        if isinstance(text, FtError):
            self.host.fail(text)
        else:
            self.query_one(Editor).change_to(text)

    # Problems

    def _go_to(self, problem: Problem) -> None:
        self._enter("text")
        self.query_one(Editor).go_to(max(problem.place.line - 1, 0), max(problem.place.column - 1, 0))

    def action_next_problem(self) -> None:
        row, column = self.query_one(Editor).cursor_location
        after = [p for p in self.problems if (p.place.line - 1, p.place.column - 1) > (row, column)]
        if self.problems:
            self._go_to((after or list(self.problems))[0])
        else:
            self.notify("There are no problems.", timeout=2)

    # Starting

    @work(exclusive=True, group="start")
    async def action_start(self) -> None:
        found = await asyncio.to_thread(check, self.text, self.place)
        if found.problems:
            first = found.problems[0]
            self.host.fail(
                ConfigError(f"{counted_problems(len(found.problems))} to correct first", first.message)
            )
            self._go_to(first)
            return
        if self.plan is not None and self.plan.fits == "no":
            advice = "; ".join(self.plan.advice) or "Take a smaller model, or quantise it."
            self.host.fail(OutOfMemoryError("This recipe does not fit into the machine's memory.", advice))
            return
        await self.host.start_run(found.text, self.path)
