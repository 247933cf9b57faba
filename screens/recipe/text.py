"""The Recipe screen's text: the form edits it in place, it is looked over, and it is planned."""

from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from textual import on, work
from textual.content import Content
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import TextArea
from textual.worker import get_current_worker

from engine.config.patch import remove, set_value
from engine.config.problems import Problem
from engine.errors import ConfigError, FtError
from engine.storage.disk_errors import explained
from screens.base import FtScreen
from screens.format import place
from screens.messages import WentWrong
from screens.recipe.dialogs import Difference
from screens.recipe.document import NAME, check, counted_problems
from screens.recipe.editor import Editor
from screens.recipe.fields import FieldChanged
from screens.recipe.form import Form
from screens.recipe.messages import Checked, NotPlanned, Planned
from screens.recipe.plan_view import PlanView
from screens.recipe.unsaved import LeftBehind, Unsaved
from screens.widgets.panes import Panes

if TYPE_CHECKING:
    from engine.planning.plan import Plan

WAIT_S = 0.04
"""After the last key, before the text is looked over and planned."""
KEEP_S = 1.0
"""After the last key, before text that is not saved is written down for the case that the app is killed."""
SLOW_S = 0.4
"""A plan that takes longer is said to be on its way; before that, the one before stands."""


class RecipeText(FtScreen):
    """A screen with a recipe's text in work, what is wrong with it, and its plan.

    A subclass gives the widgets: an `Editor` in `#text-pane`, a `Form`, a `PlanView`, `Panes`.
    """

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
        self._planned = ""
        """The text that the plan is of."""
        self._framed = ("", "")
        """What stands above and below the text."""
        self._waiting: Timer | None = None
        self._keeping: Timer | None = None
        self._unsaved, self._keeping_one = Unsaved(), Lock()
        self._slow: Timer | None = None

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
        return place(self.path) if self.path else f"new {NAME}"

    def give_up(self) -> None:
        """A person leaves the app and was asked: nothing is to be offered back."""
        if self._keeping is not None:
            self._keeping.stop()
        self.workers.cancel_group(self, "keep")
        with self._keeping_one, suppress(OSError):  # at worst, it is offered once more
            self._unsaved.drop()

    def on_unmount(self) -> None:
        with self._keeping_one:
            self._unsaved.leave()

    def unsaved(self) -> str:
        return (
            f"What you have changed in {self.title_of_file} is not saved, and will be lost."
            if self.changed
            else ""
        )

    @on(TextArea.Changed)
    def _edited(self) -> None:
        self.show_title()
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(WAIT_S, self.look)
        if self._keeping is not None:
            self._keeping.stop()
        self._keeping = self.set_timer(KEEP_S, self.keep_unsaved)

    def keep_unsaved(self, left: LeftBehind | None = None) -> None:
        """Have the text on disk exactly while it is not saved; `left` is where it was before."""
        self._keep(self.path, self.text if self.changed else None, left)

    @work(thread=True, group="keep", exclusive=True)
    def _keep(self, path: Path | None, text: str | None, left: LeftBehind | None) -> None:
        with self._keeping_one:
            if get_current_worker().is_cancelled:  # a newer text is there, or none is wanted
                return
            try:
                self._unsaved.drop() if text is None else self._unsaved.keep(path, text)
                if left is not None:
                    left.discard()
            except OSError as error:
                self.post_message(WentWrong(explained(error)))

    def show_title(self) -> None:
        """Say whose text this is, and whether it is saved."""
        state = " · new" if self.in_file is None else " · changed" if self.changed else ""
        self._frame(self.title_of_file + state, self._framed[1])

    def _frame(self, title: str, subtitle: str) -> None:
        """Name the text pane; only news are set, for Textual draws the whole pane again."""
        if (title, subtitle) != self._framed:
            self._framed = (title, subtitle)
            pane = self.query_one("#text-pane")
            pane.border_title, pane.border_subtitle = Content(title), Content(subtitle)

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
        self.post_answer(Checked(found))
        if found.problems or worker.is_cancelled:
            return
        from engine.service.client import Cancelled

        try:
            plan = self.host.service().plan(text, path, worker.cancelled_event)
            self.post_answer(Planned(text, plan))
        except Cancelled:
            return
        except FtError as error:
            self.post_answer(NotPlanned(text, error))

    def on_checked(self, message: Checked) -> None:
        found = message.check
        if found.text != self.text:
            return
        self.problems = found.problems
        if found.problems or found.text != self._planned:
            self.plan = None
        self.query_one(Editor).mark(found.problems)
        if found.values is not None:
            self.query_one(Form).show(found.values, frozenset(problem.key for problem in found.problems))
        count = len(found.problems)
        self.query_one("#text-pane").set_class(bool(count), "-wrong")
        self._frame(self._framed[0], f"✖ {counted_problems(count)} · f8 next" if count else "✔ no problems")
        self.query_one(Panes).say("text", f"✖ {count}" if count else "")
        self._no_longer_slow()
        if count:
            self.query_one(PlanView).note(f"✖ Waits for {counted_problems(count)} to be corrected.", old=True)
            self.query_one(Panes).say("plan", "")
        else:
            self._slow = self.set_timer(SLOW_S, self._say_slow)

    def _say_slow(self) -> None:
        self.query_one(PlanView).note("… planning")
        self.query_one(Panes).say("plan", "…")

    def _no_longer_slow(self) -> None:
        if self._slow is not None:
            self._slow.stop()

    def on_planned(self, message: Planned) -> None:
        if message.text == self.text:
            self._no_longer_slow()
            self.plan, self._planned = message.plan, message.text
            self.query_one(PlanView).show(message.plan)
            words = {"yes": "✔ fits", "tight": "▲ tight", "no": "✖ too large"}
            self.query_one(Panes).say("plan", words[message.plan.fits])

    def on_not_planned(self, message: NotPlanned) -> None:
        if message.text == self.text:
            self._no_longer_slow()
            self.query_one(PlanView).fail(message.error)
            self.query_one(Panes).say("plan", "✖")

    def action_undo(self) -> None:
        self.query_one(Editor).undo()

    def action_redo(self) -> None:
        self.query_one(Editor).redo()

    @work(exclusive=True, group="difference")
    async def action_diff(self) -> None:
        title = f"{self.title_of_file}: changes since it was saved"
        await self.app.push_screen_wait(Difference(title, self.in_file or "", self.text))
