"""Recipe: `train.yml` as text and as a form, its problems, and its plan."""

import asyncio
from collections.abc import Iterable
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

from engine import paths
from engine.config.patch import remove, set_value
from engine.config.problems import Problem
from engine.errors import ConfigError, FtError, OutOfMemoryError
from engine.storage.disk_errors import explained
from screens.base import FtScreen
from screens.format import place
from screens.intents import EditRecipe, Intent
from screens.messages import WentWrong
from screens.recipe.dialogs import AskPath, Difference, PickProfile, ProfileList
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
from screens.recipe.files import NAME, on_disk, write
from screens.recipe.form import Form
from screens.recipe.plan_view import PlanView
from screens.recipe.unsaved import LeftBehind, Unsaved
from screens.widgets.confirm import Confirm
from screens.widgets.panes import Panes

PANES = ("text", "form", "plan")
WAIT_S = 0.04
"""After the last key, before the text is checked and planned."""
KEEP_S = 1.0
"""After the last key, before text that is not saved is written down for the case that the app is killed."""
SLOW_S = 0.4
"""A plan that takes longer is announced; before that, the one before stays."""


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
        self._unsaved = Unsaved()
        self._framed = ("", "")
        """Title and subtitle of the text pane."""
        self._waiting: Timer | None = None
        self._keeping: Timer | None = None
        self._slow: Timer | None = None

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
        if self._keeping is not None:
            self._keeping.stop()
        self._keeping = self.set_timer(KEEP_S, self._keep_unsaved)

    @on(FieldChanged)
    def _field_changed(self, message: FieldChanged) -> None:
        """The form edits the text in place, as if it had been typed."""
        field, typed = message.field, message.typed
        try:
            if typed is None:
                text = remove(self.text, field.name)
            else:
                text = set_value(self.text, field.name, field.parse(typed))
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
        self.panes.say("text", f"✖ {count}" if count else "")
        self._no_longer_slow()
        if count:
            self.plan_view.note(f"✖ Fix {counted_problems(count)} to see the plan.", old=True)
            self.panes.say("plan", "")
        else:
            self._slow = self.set_timer(SLOW_S, self._say_slow)

    def _say_slow(self) -> None:
        self.plan_view.note("… planning")
        self.panes.say("plan", "…")

    def _no_longer_slow(self) -> None:
        if self._slow is not None:
            self._slow.stop()

    def on_planned(self, message: Planned) -> None:
        if message.text == self.text:
            self._no_longer_slow()
            self.document.take_plan(message)
            self.plan_view.show(message.plan)
            words = {"yes": "✔ fits", "tight": "▲ tight", "no": "✖ too large"}
            self.panes.say("plan", words[message.plan.fits])

    def on_not_planned(self, message: NotPlanned) -> None:
        if message.text == self.text:
            self._no_longer_slow()
            self.plan_view.fail(message.error)
            self.panes.say("plan", "✖")

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

    def show(self, path: Path | None, text: str | None, left: LeftBehind | None = None) -> None:
        """Edit a file, or a text that has no file yet; both None: whatever is open. Asks before text is lost."""
        if path is not None or text is not None:
            self._replace(path, text, left)

    def receive(self, intent: Intent) -> None:
        match intent:
            case EditRecipe(path, text, left):
                self.show(path, text, left)
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
        self._read(path, text, self.document.requests, quietly, left)

    @work(thread=True, exclusive=True, group="open")
    def _read(
        self, path: Path | None, text: str | None, number: int, quietly: bool, left: LeftBehind | None
    ) -> None:
        read_recipe(path, text, number, quietly, left, self.post_message)

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
        self._keep_unsaved(message.left)
        self._show_title()
        self.recheck()

    @work(exclusive=True, group="replace")
    async def action_open(self) -> None:
        file = self.document.path
        proposal = f"{place(file.parent)}/" if file and file.parent != Path.cwd() else ""
        path = await self.app.push_screen_wait(AskPath("Open a recipe", proposal, existing=True))
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
        from engine.config.profiles import profile_text

        try:
            self._open(None, await asyncio.to_thread(profile_text, name))
        except FtError as error:
            self.host.fail(error)

    async def _may_lose(self, question: str) -> bool:
        """Ask, if there is text that is not saved."""
        if not self.changed:
            return True
        return await self.app.push_screen_wait(Confirm(question, "Discard the changes", self.unsaved()))

    # Saving

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        await self._save(self.document.path or await self._ask_where(f"{Path.cwd()}/{NAME}"))

    @work(exclusive=True, group="save")
    async def action_save_as(self) -> None:
        await self._save(await self._ask_where(str(self.document.place)))

    async def _ask_where(self, proposal: str) -> Path | None:
        hint = "Relative paths in the recipe start at this file's folder."
        return await self.app.push_screen_wait(AskPath("Save as", place(Path(proposal)), False, hint))

    async def _save(self, path: Path | None) -> None:
        if path is None:
            return
        text = self.text
        try:
            there = await asyncio.to_thread(on_disk, path)
            ours = path == self.document.path
            if there is not None and there != text and (not ours or there != self.document.in_file):
                why = (
                    "Another program has changed it since it was read here."
                    if ours
                    else "It has other content."
                )
                if not await self.app.push_screen_wait(
                    Confirm(f"Overwrite {place(path)}?", "Overwrite it", why)
                ):
                    return
            await asyncio.to_thread(write, path, text)
        except FtError as error:
            self.host.fail(error)
            return
        moved = self.document.save(path, text)
        self._keep_unsaved()
        self._show_title()
        self.notify(f"Saved {place(path)}.", timeout=3)
        if moved:
            self.recheck()

    @work(exclusive=True, group="save")
    async def action_save_profile(self) -> None:
        proposal = str(paths.profiles() / f"{self.document.place.stem}.yml")
        hint = "Files in this folder are profiles; a comment in the first line says what one is for."
        path = await self.app.push_screen_wait(AskPath("Save as a profile", proposal, False, hint))
        if path is None:
            return
        try:
            if await asyncio.to_thread(on_disk, path) is not None and not await self.app.push_screen_wait(
                Confirm(f"Overwrite the profile {path.stem}?", "Overwrite it")
            ):
                return
            await asyncio.to_thread(write, path, self.text)
        except FtError as error:
            self.host.fail(error)
            return
        self.notify(f"Saved the profile {path.stem}.", timeout=3)

    # Coming back and leaving

    @work(exclusive=True, group="disk")
    async def on_screen_resume(self) -> None:
        """Another program may have changed the file meanwhile."""
        path, text = self.document.path, self.text
        if path is None or not self.opened:
            return
        try:
            there = await asyncio.to_thread(on_disk, path)
        except FtError as error:
            self.host.fail(error)
            return
        if there is None or there == self.document.in_file or path != self.document.path or text != self.text:
            return
        if self.changed:
            self.notify(
                f"{place(path)} was changed by another program; saving will ask first.",
                severity="warning",
            )
        else:
            self._open(path, None)
            self.notify(f"{place(path)} was changed by another program and has been read again.")

    def unsaved(self) -> str:
        return (
            f"Your changes in {self.document.title} are not saved and will be lost." if self.changed else ""
        )

    def _keep_unsaved(self, left: LeftBehind | None = None) -> None:
        """Have the text on disk exactly while it is not saved; `left` is where it was before."""
        self._keep(self.document.path, self.text if self.changed else None, left)

    @work(thread=True, group="keep", exclusive=True)
    def _keep(self, path: Path | None, text: str | None, left: LeftBehind | None) -> None:
        try:
            self._unsaved.store(path, text, left, get_current_worker().cancelled_event)
        except OSError as error:
            self.post_message(WentWrong(explained(error)))

    def give_up(self) -> None:
        """Drop the text: the person leaves the app and was asked."""
        if self._keeping is not None:
            self._keeping.stop()
        self.workers.cancel_group(self, "keep")
        self._unsaved.discard()

    def on_unmount(self) -> None:
        self._unsaved.close()

    # Starting

    @work(exclusive=True, group="start")
    async def action_start(self) -> None:
        found = await asyncio.to_thread(check, self.text, self.document.place)
        if found.problems:
            first = found.problems[0]
            self.host.fail(ConfigError(f"Fix {counted_problems(len(found.problems))} first", first.message))
            self._go_to(first)
            return
        if self.document.plan is not None and self.document.plan.fits == "no":
            advice = "; ".join(self.document.plan.advice) or "Use a smaller model, or quantise it."
            self.host.fail(OutOfMemoryError("This recipe does not fit in this machine's memory.", advice))
            return
        await self.host.start_run(found.text, self.document.path)
