"""The full-screen app: it shows the screens, and does for them what they ask for."""

import asyncio
import os
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.screen import Screen

from engine.errors import FtError
from ft.app_services import AppServices, settle_memory
from screens.actions import SCREENS, Action, bindings
from screens.base import FtScreen
from screens.messages import (
    ChatWith,
    EditRecipe,
    MachineSampled,
    RunsChanged,
    ShowData,
    ShowRun,
)
from screens.widgets.confirm import Confirm
from screens.widgets.leave import Leave

if TYPE_CHECKING:
    from engine.process.launcher import Engine
    from engine.runs.index.index import RunSummary

STARTING = "engine"
"""The group of the worker that starts an engine."""
CHECKING_S = 3.0
"""How long a message stands that says so; then it is said again."""


def _screen(scope: str) -> Callable[[], Screen[Any]]:
    """Makes a screen when it is first gone to; its module is imported only then."""

    def make() -> Screen[Any]:
        made = getattr(import_module(f"screens.{scope}.screen"), f"{scope.capitalize()}Screen")()
        assert isinstance(made, Screen)
        return made

    return make


class FtApp(AppServices):
    """See `screens.host.Host` for what it does for the screens."""

    TITLE = "ft"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("app"),
        Binding("ctrl+q", "leave", "quit", priority=True),  # in dialogs too, where other keys of the app rest
    ]
    MODES: ClassVar[dict[str, Any]] = {scope: _screen(scope) for _, scope, _ in SCREENS}

    def __init__(self, start: str = "home", run: str | None = None, only: bool = False) -> None:
        """`start` is the first screen, `run` what it shows; with `only`, there is no other."""
        super().__init__()
        self._start = start
        self._run = run
        self._only = only

    def on_mount(self) -> None:
        self._use_preferences()
        if not self.is_headless:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
            self.watch_terminal()
        if self._run is None:
            self.go(self._start)
        else:
            self.show_run(self._run)
        self.call_after_refresh(self.look_outside)

    def look_outside(self) -> None:
        super().look_outside()
        if not self._only:
            self.prepare_screens()
            self.offer_unsaved()

    @work
    async def offer_unsaved(self) -> None:
        """Offer recipe text back that an app had not saved when it was killed."""
        from screens.recipe.unsaved import left_behind

        for left in await asyncio.to_thread(left_behind):
            from screens.recipe.restore import Restore

            answer = await self.push_screen_wait(Restore(left))
            if answer == "open":
                self.go("recipe")
                self.tell(EditRecipe(left.path, left.text, left))
                return  # the others would take its place; they are offered at the next start
            if answer == "discard":
                await asyncio.to_thread(left.discard)

    @work
    async def prepare_screens(self) -> None:
        """Import the screens in a thread and read their styles one by one, before anybody goes there.

        Left to the first visit it would hold the app up, and Textual would then parse the styles of all others again.
        """
        for _, scope, _ in SCREENS:
            module = await asyncio.to_thread(import_module, f"screens.{scope}.screen")
            styles = str(Path(str(module.__file__)).with_suffix(".tcss"))
            if not self.stylesheet.has_source(styles, ""):
                self.stylesheet.read(styles)
                self.stylesheet.parse()
            await asyncio.sleep(0)
        settle_memory()

    # What screens ask for

    def go(self, scope: str) -> None:
        self.switch_mode(scope)
        if self.looked:
            self.tell(RunsChanged(self.runs))
        if self.samples:
            self.tell(MachineSampled(self.samples[-1]))

    def show_run(self, run_id: str) -> None:
        self.go("monitor")
        self.tell(ShowRun(run_id))

    def edit_recipe(self, path: Path | None = None, text: str | None = None) -> None:
        self.go("recipe")
        self.tell(EditRecipe(path, text))

    def chat_with(self, reference: str) -> None:
        self.go("chat")
        self.tell(ChatWith(reference))

    def show_data(self, source: str) -> None:
        self.go("datasets")
        self.tell(ShowData(source))

    async def start_run(self, text: str, path: Path | None) -> None:
        from ft.launch import launch

        await self._start_engine(lambda: launch(text, path, self.service()))

    async def resume_run(self, run_id: str, checkpoint: Path | None = None) -> None:
        from ft.launch import relaunch

        await self._start_engine(lambda: relaunch(run_id, checkpoint, self.service()))

    async def _start_engine(self, starting: "Callable[[], Engine]") -> None:
        """Start it, and show the run; what fails is shown. One at a time: a key may be pressed twice."""
        if any(worker.group == STARTING and worker.is_running for worker in self.workers):
            self.notify("A run is being started already.", timeout=CHECKING_S)
            return
        # shielded, since a screen may give up waiting, and the thread would start an engine all the same
        await asyncio.shield(self._starting_engine(starting).wait())

    @work(group=STARTING)
    async def _starting_engine(self, starting: "Callable[[], Engine]") -> None:
        thread = asyncio.ensure_future(asyncio.to_thread(starting))
        while not thread.done():  # an engine of a large model is checked for longer than one message stands
            self.notify("Checking the recipe and its data …", timeout=CHECKING_S)
            await asyncio.wait({thread}, timeout=CHECKING_S)
        try:
            engine = await thread
        except FtError as error:
            self.fail(error)
            return
        self.started.append(engine)
        self.show_run(engine.run.id)

    # Actions

    @property
    def front(self) -> FtScreen | None:
        """The screen in front; a dialog is none."""
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, FtScreen)), None)

    @property
    def scope(self) -> str:
        """The scope of the screen in front."""
        return self.front.SCOPE if self.front else self.current_mode

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (self._only and action.startswith("go_"))

    def action_help(self) -> None:
        from screens.widgets.help import Help

        self.push_screen(Help(self.scope, self.keymap))

    @work
    async def action_palette(self) -> None:
        from screens.widgets.palette import Palette

        chosen = await self.push_screen_wait(Palette(self.scope, self.keymap, self._possible))
        if chosen is not None:
            await self.do(chosen)

    async def do(self, action: Action) -> None:
        """Do an action, on its own screen."""
        if action.scope == "app":
            await self.run_action(action.method, self)
            return
        if action.scope != self.scope:
            if self._only or action.scope not in self.MODES:
                self.bell()
                return
            await self.switch_mode(action.scope)
            self.go(action.scope)
        screen = self.front
        if screen is not None and action.scope == screen.SCOPE:
            screen.call_later(self.run_action, action.method, screen)  # after the news that it was just sent

    def _possible(self, action: Action) -> bool:
        """Whether an action can be done now, as far as it can be told without its screen."""
        if action.scope not in ("app", self.scope):
            return not self._only and action.scope in self.MODES
        where = self if action.scope == "app" else self.front
        return where is not None and bool(where.check_action(action.method, ()))

    @work
    async def action_leave(self) -> None:
        live = [run for run in self.runs if run.alive]
        if not await self._may_lose():
            return
        if self._only or not live:
            self._leave()
        elif not isinstance(self.screen, Leave):
            await self._leave_live(live)

    async def _may_lose(self) -> bool:
        """Ask about what a screen has not saved."""
        if isinstance(self.screen, Confirm):
            return False
        for screen in (one for stack in self._screen_stacks.values() for one in stack):
            what = screen.unsaved() if isinstance(screen, FtScreen) else ""
            if what and not await self.push_screen_wait(Confirm("Leave ft?", "Lose the changes", what)):
                return False
        return True

    async def _leave_live(self, live: "list[RunSummary]") -> None:
        from ft.launch import farewell, stop_all

        answer = await self.push_screen_wait(Leave(live))
        if answer not in ("leave", "stop"):
            return
        if answer == "stop":
            try:
                await asyncio.to_thread(stop_all, live)
            except FtError as error:
                self.fail(error)
                return
        self._leave(farewell(live, stopped=answer == "stop"))

    def _leave(self, message: str | None = None) -> None:
        for screen in (one for stack in self._screen_stacks.values() for one in stack):
            if isinstance(screen, FtScreen):
                screen.give_up()
        self.exit(message=message)


for _, _scope, _ in SCREENS:

    def _go(self: FtApp, scope: str = _scope) -> None:
        self.go(scope)

    setattr(FtApp, f"action_go_{_scope}", _go)


def open_app(start: str = "home", run: str | None = None, only: bool = False) -> int:
    """Run the app on this terminal until it is left; returns the exit code."""
    from ft.crash_report import BUG

    # Where a shell exports them, Textual would never see the terminal resized.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    app = FtApp(start, run, only)
    app.run()
    return BUG if app.return_code else 0
