"""Recipe: `train.yml` as text and as a form, its problems, and its plan."""

import asyncio
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from textual import events, on, work
from textual.app import SuspendNotSupported
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.getters import query_one
from textual.reactive import reactive
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import OptionList, Static, TextArea
from textual.worker import get_current_worker

from engine.config.problems import Problem
from engine.errors import ConfigError, FtError
from screens.base import FtScreen
from screens.format import place
from screens.intents import EditRecipe, Intent
from screens.recipe.dialogs import Difference, PickProfile, ProfileList
from screens.recipe.document import (
    Checked,
    NotPlanned,
    Opened,
    Planned,
    RecipeDocument,
    check,
    check_and_plan,
    counted_problems,
    read_recipe,
)
from screens.recipe.editor import Editor
from screens.recipe.external_editor import edited
from screens.recipe.fields import FieldChanged
from screens.recipe.files import NAME
from screens.recipe.form import Form
from screens.recipe.keeping import Keeping
from screens.recipe.opening import ask_which, text_of_profile
from screens.recipe.plan_view import PlanView
from screens.recipe.saving import ask_where, changed_by_others, save_profile, saved
from screens.recipe.unsaved import LeftBehind
from screens.recipe.verdict import Verdict
from screens.widgets.confirm import Confirm
from screens.widgets.panes import Panes

PANES = ("text", "form", "plan")
WAIT_S = 0.04
"""After the last key, before the text is checked and planned."""


class RecipeScreen(FtScreen):
    """The text is what counts: the form shows it and edits it in place, the plan is made from it."""

    SCOPE = "recipe"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = ""
    """Nothing: the number keys still lead to the other screens until a person starts to edit."""

    opened: reactive[bool] = reactive(False, toggle_class="-opened")
    """True if there is a recipe here."""
    pane: reactive[str] = reactive("text")
    """The one in front where there is no room for all."""

    editor = query_one(Editor)
    form = query_one(Form)
    plan_view = query_one(PlanView)
    panes = query_one(Panes)

    def __init__(self) -> None:
        super().__init__()
        self.document = RecipeDocument()
        self.verdict = Verdict(self)
        self.keeping = Keeping(self, lambda: (self.document.path, self.text if self.changed else None))
        self._framed = ("", "")
        """Title and subtitle of the text pane."""
        self._waiting: Timer | None = None

    def body(self) -> Iterable[Widget]:
        yield Panes(PANES)
        with Vertical(id="empty"):
            yield Static(f"There is no {NAME} in this folder.", id="empty-title", markup=False)
            yield Static("Pick a profile to start from with ↑ ↓ and enter, or press f9 to open a file.")
            yield ProfileList()
        with Horizontal(id="panes"):
            with Vertical(id="text-pane"):
                yield Editor()
            yield Form()
            yield PlanView()

    def on_mount(self) -> None:
        self.form.border_title = "form"
        self.plan_view.border_title = "plan"
        self.set_class(True, "-at-text")
        self.call_after_refresh(self._open_here)

    @property
    def text(self) -> str:
        """The recipe as it is in the editor."""
        return self.editor.text

    @property
    def changed(self) -> bool:
        """True if there is text that is not saved."""
        return self.opened and self.document.changed(self.text)

    # Panes

    def watch_pane(self, pane: str) -> None:
        for name in PANES:
            self.set_class(name == pane, f"-at-{name}")
        if self.is_mounted:
            self.panes.here = pane

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
            "text": self.editor,
            "form": self.form.fields,
            "plan": self.plan_view,
        }
        self.set_focus(targets[pane])  # immediately: what is typed next is meant for it
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

    # Editing

    @on(TextArea.Changed)
    def _edited(self) -> None:
        self._show_title()
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(WAIT_S, self.recheck)
        self.keeping.keep_soon()

    @on(FieldChanged)
    def _field_changed(self, message: FieldChanged) -> None:
        """The form edits the text in place, as if it had been typed."""
        try:
            text = message.applied_to(self.text)
        except ConfigError as error:
            self.form.refuse(error)
            return
        self.form.settle(text)
        self.editor.change_to(text)

    def action_undo(self) -> None:
        self.editor.undo()

    def action_redo(self) -> None:
        self.editor.redo()

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
            self.editor.change_to(text)

    # Checking and planning

    def _show_title(self) -> None:
        """Name the file, and say whether the text is saved."""
        self._frame(self.document.heading(self.text), self._framed[1])

    def _frame(self, title: str, subtitle: str) -> None:
        """Name the text pane; set only what is new, for Textual draws the whole pane again."""
        if (title, subtitle) != self._framed:
            self._framed = (title, subtitle)
            pane = self.query_one("#text-pane")
            pane.border_title, pane.border_subtitle = Content(title), Content(subtitle)

    def recheck(self) -> None:
        """Check the text, and plan it if nothing is wrong."""
        if self.opened:
            self._check(self.text, self.document.place)

    @work(thread=True, exclusive=True, group="look")
    def _check(self, text: str, path: Path) -> None:
        cancelled = get_current_worker().cancelled_event
        check_and_plan(text, path, self.host.service, self.post_answer, cancelled)

    def on_checked(self, message: Checked) -> None:
        found = message.check
        if found.text != self.text:
            return
        self.document.take_check(found)
        self.editor.mark(found.problems)
        if found.values is not None:
            self.form.show(found.values, frozenset(problem.key for problem in found.problems))
        count = len(found.problems)
        self.query_one("#text-pane").set_class(bool(count), "-wrong")
        self._frame(self._framed[0], f"✖ {counted_problems(count)} · f8 next" if count else "✔ no problems")
        self.verdict.checked(count)

    def on_planned(self, message: Planned) -> None:
        if message.text == self.text:
            self.document.take_plan(message)
            self.verdict.planned(message.plan)

    def on_not_planned(self, message: NotPlanned) -> None:
        if message.text == self.text:
            self.verdict.not_planned(message.error)

    # Problems

    def _go_to(self, problem: Problem) -> None:
        self._enter("text")
        self.editor.go_to(max(problem.place.line - 1, 0), max(problem.place.column - 1, 0))

    def action_next_problem(self) -> None:
        row, column = self.editor.cursor_location
        after = [p for p in self.document.problems if (p.place.line - 1, p.place.column - 1) > (row, column)]
        if self.document.problems:
            self._go_to((after or list(self.document.problems))[0])
        else:
            self.notify("There are no problems.", timeout=2)

    @work(exclusive=True, group="difference")
    async def action_diff(self) -> None:
        title = f"{self.document.title}: changes since it was saved"
        await self.app.push_screen_wait(Difference(title, self.document.in_file or "", self.text))

    # Opening

    def _open_here(self) -> None:
        """Open the current folder's recipe, which one most likely wants to edit."""
        if not self.opened and self.document.requests == 0:
            self._open(Path.cwd() / NAME, None, quietly=True)

    def receive(self, intent: Intent) -> None:
        match intent:
            case EditRecipe(None, None):
                pass  # whatever is open
            case EditRecipe(path, text, left):
                self._replace(path, text, left)
            case _:
                super().receive(intent)

    @work(exclusive=True, group="replace")
    async def _replace(self, path: Path | None, text: str | None, left: LeftBehind | None) -> None:
        self.document.requests += 1
        if await self._may_lose("Open another recipe?"):
            self._open(path, text, left=left)

    def _open(
        self, path: Path | None, text: str | None, quietly: bool = False, left: LeftBehind | None = None
    ) -> None:
        self.document.requests += 1
        number = self.document.requests
        reading = partial(read_recipe, path, text, number, quietly, left, self.post_message)
        self.run_worker(reading, thread=True, exclusive=True, group="open")

    def on_nothing_here(self) -> None:
        """The profiles are ready to be picked from."""
        if not self.opened:
            self.query_one("#empty ProfileList").focus()

    def on_opened(self, message: Opened) -> None:
        if message.number != self.document.requests:
            return
        editor, document = self.editor, self.document
        document.open(message)
        # A text that has no file was made by a program so far: nothing of a person's is lost with it. Unless it is
        # offered back.
        editor.load_text(message.text if message.in_file is None else message.in_file)
        document.unchanged = "" if message.left and message.in_file is None else editor.text
        if message.text != message.in_file and message.in_file is not None:
            editor.change_to(message.text)
        if not self.opened:
            self.opened = True
            self.set_focus(None)
        self.plan_view.forget()
        self.keeping.keep(message.left)
        self._show_title()
        self.recheck()

    @work(exclusive=True, group="replace")
    async def action_open(self) -> None:
        path = await ask_which(self, self.document.path)
        if path is not None and await self._may_lose("Open another recipe?"):
            self._open(path, None)

    @work(exclusive=True, group="replace")
    async def action_profile(self) -> None:
        name = await self.app.push_screen_wait(PickProfile())
        if name is not None and await self._may_lose("Start from a profile?"):
            await self._start_from(name)

    @on(OptionList.OptionSelected, "ProfileList")
    async def _profile_picked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        await self._start_from(str(event.option_id))

    async def _start_from(self, name: str) -> None:
        if (text := await text_of_profile(self, name)) is not None:
            self._open(None, text)

    async def _may_lose(self, question: str) -> bool:
        """Ask, if there is text that is not saved."""
        if not self.changed:
            return True
        return await self.app.push_screen_wait(Confirm(question, "Discard the changes", self.unsaved()))

    # Saving, coming back and leaving

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        await self._save(self.document.path or await ask_where(self, Path.cwd() / NAME))

    @work(exclusive=True, group="save")
    async def action_save_as(self) -> None:
        await self._save(await ask_where(self, self.document.place))

    async def _save(self, path: Path | None) -> None:
        text = self.text
        if path is None or not await saved(self, path, text, self.document):
            return
        moved = self.document.save(path, text)
        self.keeping.keep()
        self._show_title()
        self.notify(f"Saved {place(path)}.", timeout=3)
        if moved:
            self.recheck()

    @work(exclusive=True, group="save")
    async def action_save_profile(self) -> None:
        await save_profile(self, self.text, self.document.place.stem)

    @work(exclusive=True, group="disk")
    async def on_screen_resume(self) -> None:
        """Another program may have changed the file meanwhile."""
        text = self.text
        if not self.opened or not await changed_by_others(self, self.document) or text != self.text:
            return
        assert self.document.path is not None
        changed = f"{place(self.document.path)} was changed by another program"
        if self.changed:
            self.notify(f"{changed}; saving will ask first.", severity="warning")
        else:
            self._open(self.document.path, None)
            self.notify(f"{changed} and has been read again.")

    def unsaved(self) -> str:
        return self.document.loss if self.changed else ""

    def give_up(self) -> None:
        """Drop the text: the person leaves the app and was asked."""
        self.keeping.give_up()

    def on_unmount(self) -> None:
        self.keeping.close()

    # Starting

    @work(exclusive=True, group="start")
    async def action_start(self) -> None:
        found = await asyncio.to_thread(check, self.text, self.document.place)
        refusal = self.document.refusal(found)
        if refusal is None:
            await self.host.start_run(found.text, self.document.path)
            return
        self.host.fail(refusal)
        if found.problems:
            self._go_to(found.problems[0])
