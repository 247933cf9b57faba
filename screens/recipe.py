"""Recipe: `train.yml` as text and as a form, what is wrong with it, and what it will take."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, on, work
from textual.containers import Horizontal, Vertical
from textual.reactive import reactive
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import OptionList, Static, TextArea
from textual.worker import get_current_worker

from engine import paths
from engine.config.patch import remove, set_value
from engine.config.problems import Problem
from engine.errors import ConfigError, FtError, OutOfMemoryError
from screens.base import FtScreen
from screens.messages import EditRecipe, WentWrong
from screens.recipe_messages import Checked, NothingHere, NotPlanned, Opened, Planned
from screens.recipe_state import NAME, check, on_disk, read, shown, write
from screens.widgets.confirm import Confirm
from screens.widgets.editor import Editor
from screens.widgets.form import FieldChanged, Form
from screens.widgets.panes import Panes
from screens.widgets.plan_view import PlanView
from screens.widgets.problem_list import ProblemList
from screens.widgets.recipe_dialogs import AskPath, Difference, PickProfile, ProfileList

if TYPE_CHECKING:
    from engine.plan import Plan

WAIT_S = 0.08
"""After the last key, before the text is looked over and planned."""
PANES = ("text", "form", "plan")


class RecipeScreen(FtScreen):
    """The text is what counts: the form shows it and edits it in place, the plan is made from it."""

    SCOPE = "recipe"
    CSS_PATH = "recipe.tcss"
    AUTO_FOCUS = ""
    """Nothing: the number keys go on leading to the other screens until a person starts to edit."""

    pane: reactive[str] = reactive("text")
    """The one in front where there is no room for all."""
    opened: reactive[bool] = reactive(False, toggle_class="-opened")
    """Whether there is a recipe here."""

    def __init__(self) -> None:
        super().__init__()
        self.path: Path | None = None
        """The file; None for a text that has none yet."""
        self.in_file: str | None = None
        """The file's text as last read or written; None where there is no file."""
        self.unchanged = ""
        """The editor's text when it was last opened or saved."""
        self.problems: tuple[Problem, ...] = ()
        self.plan: Plan | None = None
        """The plan of the text as it is; None while there is none."""
        self._asked = 0
        """Counts openings, so that a slow one does not come over a later one."""
        self._waiting: Timer | None = None

    def body(self) -> Iterable[Widget]:
        yield Panes(PANES)
        with Vertical(id="empty"):
            yield Static(f"There is no {NAME} in this folder.", id="empty-title", markup=False)
            yield Static("Pick a profile to start from with ↑ ↓ and enter, or press o to open a file.")
            yield ProfileList()
        with Horizontal(id="panes"):
            with Vertical(id="text-pane"):
                yield Editor()
                yield ProblemList()
            yield Form()
            yield PlanView()

    # Opening

    def on_mount(self) -> None:
        self.query_one(Form).border_title = "form"
        self.query_one(PlanView).border_title = "plan"
        self.set_class(True, "-at-text")
        self.call_after_refresh(self.open_here)

    def open_here(self) -> None:
        """What one most likely wants to edit: the current folder's recipe."""
        if not self.opened and self._asked == 0:
            self._open(Path.cwd() / NAME, None, quietly=True)

    def show(self, path: Path | None, text: str | None) -> None:
        """Edit a file, or a text that has no file yet; both None: whatever is open. Asks before text is lost."""
        if path is not None or text is not None:
            self._replace(path, text)

    def on_edit_recipe(self, message: EditRecipe) -> None:
        self.show(message.path, message.text)

    @work(exclusive=True, group="replace")
    async def _replace(self, path: Path | None, text: str | None) -> None:
        self._asked += 1
        if await self._may_lose("Open another recipe?"):
            self._open(path, text)

    def _open(self, path: Path | None, text: str | None, quietly: bool = False) -> None:
        self._asked += 1
        self._read(path, text, self._asked, quietly)

    @work(thread=True, exclusive=True, group="open")
    def _read(self, path: Path | None, text: str | None, number: int, quietly: bool) -> None:
        """Read the file; `text`, if given, is a change of it that is not saved."""
        try:
            found = None
            if path is not None:
                path = path.expanduser().absolute()
                found = on_disk(path) if quietly or text is not None else read(path)
            if found is None and text is None:
                self.post_message(NothingHere())
            else:
                self.post_message(Opened(path, found, text if text is not None else found or "", number))
        except FtError as error:
            self.post_message(WentWrong(error))

    def on_nothing_here(self) -> None:
        """The profiles are ready to be picked from."""
        if not self.opened:
            self.query_one("#empty ProfileList").focus()

    def on_opened(self, message: Opened) -> None:
        if message.number != self._asked:
            return
        editor = self.query_one(Editor)
        self.path, self.in_file = message.path, message.in_file
        # A text that has no file was made by a program so far: nothing of a person's is lost with it.
        editor.load_text(message.text if message.in_file is None else message.in_file)
        self.unchanged = editor.text
        if message.text != message.in_file and message.in_file is not None:
            editor.change_to(message.text)
        if not self.opened:
            self.opened = True
            self.set_focus(None)
        self.query_one(PlanView).forget()
        self._changed()
        self.look()

    @work(exclusive=True, group="replace")
    async def action_open(self) -> None:
        proposal = f"{shown(self.path.parent)}/" if self.path and self.path.parent != Path.cwd() else ""
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
        return await self.app.push_screen_wait(Confirm(question, "Lose the changes", self.unsaved()))

    def unsaved(self) -> str:
        return (
            f"What you have changed in {self.title_of_file} is not saved, and will be lost."
            if self.changed
            else ""
        )

    # Editing

    @property
    def text(self) -> str:
        return self.query_one(Editor).text

    @property
    def place(self) -> Path:
        """Where the text stands, or would stand: relative paths in it start at this file's folder."""
        return self.path or Path.cwd() / NAME

    @property
    def changed(self) -> bool:
        """Whether there is text that is not saved."""
        return self.opened and self.text != self.unchanged

    @property
    def title_of_file(self) -> str:
        return shown(self.path) if self.path else f"new {NAME}"

    @on(TextArea.Changed)
    def _edited(self) -> None:
        self._changed()
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(WAIT_S, self.look)

    def _changed(self) -> None:
        """Say whose text this is, and whether it is saved."""
        state = " · new" if self.in_file is None else " · changed" if self.changed else ""
        pane, title = self.query_one("#text-pane"), self.title_of_file + state
        if pane.border_title != title:
            pane.border_title = title

    @on(FieldChanged)
    def _field_changed(self, message: FieldChanged) -> None:
        """The form edits the text in place; it is looked over as if it had been typed."""
        field, typed = message.field, message.typed
        form, editor = self.query_one(Form), self.query_one(Editor)
        try:
            if typed is None:
                text = remove(editor.text, field.name)
            else:
                text = set_value(editor.text, field.name, field.parse(typed))
        except ConfigError as error:
            form.refuse(error)
            return
        form.settle(text)
        editor.change_to(text)

    def look(self) -> None:
        """Look the text over, and plan it if nothing is wrong."""
        if self.opened:
            self._look(self.text, self.place)

    @work(thread=True, exclusive=True, group="look")
    def _look(self, text: str, path: Path) -> None:
        worker = get_current_worker()
        found = check(text, path)
        self.post_message(Checked(found))
        if found.problems or worker.is_cancelled:
            return
        from engine.client import Cancelled
        from engine.plan import Plan

        try:
            body = self.host.service().plan(text, path, worker.cancelled_event)
            self.post_message(Planned(text, Plan.from_json(json.dumps(body))))
        except Cancelled:
            return
        except FtError as error:
            self.post_message(NotPlanned(text, error))

    def on_checked(self, message: Checked) -> None:
        found = message.check
        if found.text != self.text:
            return
        self.problems, self.plan = found.problems, None
        self.query_one(Editor).mark(found.problems)
        self.query_one(ProblemList).show(found.problems)
        if found.values is not None:
            self.query_one(Form).show(found.values, frozenset(problem.key for problem in found.problems))
        count = len(found.problems)
        pane = self.query_one("#text-pane")
        pane.set_class(bool(count), "-wrong")
        pane.border_subtitle = f"✖ {_problems(count)} · f8 next" if count else "✔ no problems"
        view = self.query_one(PlanView)
        view.note(f"✖ Waits for {_problems(count)} to be mended." if count else "… planning", old=bool(count))
        self.query_one(Panes).say("text", f"✖ {count}" if count else "")
        self.query_one(Panes).say("plan", "" if count else "…")

    def on_planned(self, message: Planned) -> None:
        if message.text == self.text:
            self.plan = message.plan
            self.query_one(PlanView).show(message.plan)
            words = {"yes": "✔ fits", "tight": "▲ tight", "no": "✖ too large"}
            self.query_one(Panes).say("plan", words[message.plan.fits])

    def on_not_planned(self, message: NotPlanned) -> None:
        if message.text == self.text:
            self.query_one(PlanView).fail(message.error)
            self.query_one(Panes).say("plan", "✖")

    @on(TextArea.SelectionChanged)
    def _moved(self, event: TextArea.SelectionChanged) -> None:
        self.query_one(ProblemList).at_line(event.selection.end[0] + 1)

    @on(OptionList.OptionSelected, "ProblemList")
    def _problem_chosen(self, event: OptionList.OptionSelected) -> None:
        self._go_to(self.problems[event.option_index])

    def _go_to(self, problem: Problem) -> None:
        editor = self.query_one(Editor)
        self.pane = "text"
        editor.focus()
        editor.move_cursor((max(problem.place.line - 1, 0), max(problem.place.column - 1, 0)), center=True)

    def action_next_problem(self) -> None:
        row, column = self.query_one(Editor).cursor_location
        after = [p for p in self.problems if (p.place.line - 1, p.place.column - 1) > (row, column)]
        if self.problems:
            self._go_to((after or list(self.problems))[0])
        else:
            self.notify("There are no problems.", timeout=2)

    def action_undo(self) -> None:
        self.query_one(Editor).undo()

    def action_redo(self) -> None:
        self.query_one(Editor).redo()

    @work(exclusive=True, group="difference")
    async def action_diff(self) -> None:
        title = f"{self.title_of_file}: not saved"
        await self.app.push_screen_wait(Difference(title, self.in_file or "", self.text))

    # Panes

    def watch_pane(self, pane: str) -> None:
        for name in PANES:
            self.set_class(name == pane, f"-at-{name}")
        if self.is_mounted:
            self.query_one(Panes).here = pane

    def action_edit(self) -> None:
        self.pane = "text"
        self.query_one(Editor).focus()

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
        return self.opened or action not in (*needs, "undo", "redo")

    def watch_opened(self) -> None:
        self.refresh_bindings()

    # Saving and starting

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        await self._save(self.path or await self._ask_where(f"{Path.cwd()}/{NAME}"))

    @work(exclusive=True, group="save")
    async def action_save_as(self) -> None:
        await self._save(await self._ask_where(str(self.place)))

    async def _ask_where(self, proposal: str) -> Path | None:
        hint = "Relative paths in the recipe start at this file's folder."
        return await self.app.push_screen_wait(AskPath("Save as", shown(Path(proposal)), False, hint))

    async def _save(self, path: Path | None) -> None:
        if path is None:
            return
        text = self.text
        try:
            there = await asyncio.to_thread(on_disk, path)
            ours = path == self.path
            if there is not None and there != text and (not ours or there != self.in_file):
                why = (
                    "Another program has changed it since it was read here."
                    if ours
                    else "It holds another text."
                )
                if not await self.app.push_screen_wait(
                    Confirm(f"Write over {shown(path)}?", "Write over it", why)
                ):
                    return
            await asyncio.to_thread(write, path, text)
        except FtError as error:
            self.host.fail(error)
            return
        moved = path.parent != self.place.parent
        self.path, self.in_file, self.unchanged = path, text, text
        self._changed()
        self.notify(f"Saved {shown(path)}.", timeout=3)
        if moved:
            self.look()

    @work(exclusive=True, group="save")
    async def action_save_profile(self) -> None:
        proposal = str(paths.profiles() / f"{self.place.stem}.yml")
        hint = "Files in this folder are profiles; a comment in the first line says what one is for."
        path = await self.app.push_screen_wait(AskPath("Save as a profile", proposal, False, hint))
        if path is None:
            return
        try:
            if await asyncio.to_thread(on_disk, path) is not None and not await self.app.push_screen_wait(
                Confirm(f"Write over the profile {path.stem}?", "Write over it")
            ):
                return
            await asyncio.to_thread(write, path, self.text)
        except FtError as error:
            self.host.fail(error)
            return
        self.notify(f"Saved the profile {path.stem}.", timeout=3)

    @work(exclusive=True, group="start")
    async def action_start(self) -> None:
        found = await asyncio.to_thread(check, self.text, self.place)
        if found.problems:
            first = found.problems[0]
            self.host.fail(ConfigError(f"{_problems(len(found.problems))} to mend first", str(first)))
            self._go_to(first)
            return
        if self.plan is not None and self.plan.fits == "no":
            advice = "; ".join(self.plan.advice) or "Take a smaller model, or quantise it."
            self.host.fail(OutOfMemoryError("This recipe does not fit into the machine's memory.", advice))
            return
        await self.host.start_run(found.text, self.path)

    @work(exclusive=True, group="disk")
    async def on_screen_resume(self) -> None:
        """Another program may have changed the file meanwhile."""
        path, text = self.path, self.text
        if path is None or not self.opened:
            return
        try:
            there = await asyncio.to_thread(on_disk, path)
        except FtError as error:
            self.host.fail(error)
            return
        if there is None or there == self.in_file or path != self.path or text != self.text:
            return
        if self.changed:
            self.notify(f"{shown(path)} was changed by another program; saving will ask.", severity="warning")
        else:
            self._open(path, None)
            self.notify(f"{shown(path)} was changed by another program, and is read again.")


def _problems(count: int) -> str:
    return "1 problem" if count == 1 else f"{count} problems"
