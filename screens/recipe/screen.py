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
from textual.widgets import Static, TextArea
from textual.worker import get_current_worker

from engine.config.patch import remove, set_value
from engine.config.problems import Problem
from engine.errors import ConfigError, FtError, OutOfMemoryError
from screens.recipe.dialogs import Difference, ProfileList
from screens.recipe.document import (
    Checked,
    NotPlanned,
    Planned,
    check,
    check_and_plan,
    counted_problems,
)
from screens.recipe.editor import Editor
from screens.recipe.external_editor import edited
from screens.recipe.fields import FieldChanged
from screens.recipe.file_screen import RecipeFileScreen
from screens.recipe.files import NAME
from screens.recipe.form import Form
from screens.recipe.plan_view import PlanView
from screens.widgets.panes import Panes

PANES = ("text", "form", "plan")
WAIT_S = 0.04
"""After the last key, before the text is checked and planned."""
SLOW_S = 0.4
"""A plan that takes longer is announced; before that, the one before stays."""


class RecipeScreen(RecipeFileScreen):
    """The text is what counts: the form shows it and edits it in place, the plan is made from it."""

    SCOPE = "recipe"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = ""
    """Nothing: the number keys still lead to the other screens until a person starts to edit."""

    pane: reactive[str] = reactive("text")
    """The one in front where there is no room for all."""

    form = query_one(Form)
    plan_view = query_one(PlanView)
    panes = query_one(Panes)

    def __init__(self) -> None:
        super().__init__()
        self._framed = ("", "")
        """Title and subtitle of the text pane."""
        self._waiting: Timer | None = None
        self._slow: Timer | None = None

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
        self.call_after_refresh(self.open_here)

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
        self.keep_unsaved_soon()

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

    def show_file(self, new: bool = False, moved: bool = False) -> None:
        if new:
            self.plan_view.forget()
        self._show_title()
        if new or moved:
            self.recheck()

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
