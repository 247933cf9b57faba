"""The full-screen app: it shows the screens, and does for them what they ask for."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.filter import LineFilter
from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from engine.errors import FtError
from ft import app_services
from ft.app_engines import Engines
from ft.app_preferences import AppPreferences
from screens.action import Action
from screens.actions import SCREENS, action_of, bindings
from screens.base import FtScreen
from screens.clipboard import copy_locally
from screens.intents import EditRecipe, Intent, ShowRun
from screens.keymap import keys_of, shown
from screens.messages import Intended, MachineSampled, RunsChanged, WentWrong
from screens.plain_text import WithoutControls
from screens.widgets.confirm import Confirm
from screens.widgets.leave import Leave

if TYPE_CHECKING:
    from engine.hardware.sample import Sample
    from engine.runs.directory.run import Run
    from engine.runs.index.index import RunSummary
    from engine.service.client import Client
    from screens.preferences import Preferences

CHECKING = "Checking the recipe and its data …"


def settle_memory() -> None:
    """Keep what is there out of garbage collection: to look through it again and again would hold the app up."""
    gc.freeze()
    gc.enable()  # the program turned it off until its first picture


def _screen(scope: str) -> Callable[[], Screen[Any]]:
    """A function that makes a screen when it is first shown; its module is imported only then."""

    def make() -> Screen[Any]:
        made = getattr(import_module(f"screens.{scope}.screen"), f"{scope.capitalize()}Screen")()
        assert isinstance(made, Screen)
        return made

    return make


class FtApp(App[None]):
    """The app as a person sees it. `screens.host.Host` says what it does for the screens."""

    TITLE = "ft"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("app"),
        Binding("ctrl+q", "leave", "quit", priority=True),  # in dialogs too, where other keys of the app rest
    ]
    MODES: ClassVar[dict[str, Any]] = {scope: _screen(scope) for _, scope, _ in SCREENS}
    PROBLEMS = 50
    """Errors that are kept to be read again."""
    SAMPLES = 600
    """Samples of the machine that are kept: ten minutes."""
    LOOK_S = 1.0
    """Seconds between two checks of runs, machine and terminal."""

    def __init__(self, start: str = "home", run: str | None = None, only: bool = False) -> None:
        """`start` is the first screen, `run` what it shows; with `only`, there is no other."""
        super().__init__()
        self._start = start
        self._run = run
        self._only = only
        self._preferences = AppPreferences(self, self.fail)
        self.problems: list[FtError] = []
        self.runs: tuple[RunSummary, ...] = ()
        self.looked = False
        """True once `runs` are known."""
        self.samples: list[Sample] = []
        self.engine_pid: int | None = None
        self._engines = Engines(self, lambda engine: self.open(ShowRun(engine.run.id)))
        self._service = app_services.ServiceProcess()
        self._without_controls = WithoutControls()

    def on_mount(self) -> None:
        self._preferences.use()
        if not self.is_headless:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
            self.watch_terminal()
        if self._run is None:
            self.go(self._start)
        else:
            self.open(ShowRun(self._run))
        self.call_after_refresh(self._look_outside)

    # The world outside, watched in threads

    def _look_outside(self) -> None:
        """Watch runs and machine, once the first picture stands: what that needs is imported only then."""
        settle_memory()
        self.watch_runs()
        self.watch_machine()
        if not self._only:
            self.prepare_screens()
            self.offer_unsaved()

    @work(thread=True)
    def watch_runs(self) -> None:
        app_services.watch_runs(self.post_message, get_current_worker().cancelled_event, self.LOOK_S)

    @work(thread=True)
    def watch_machine(self) -> None:
        stop = get_current_worker().cancelled_event
        app_services.watch_machine(self.post_message, stop, self.LOOK_S, lambda: self.engine_pid)

    @work(thread=True)
    def watch_terminal(self) -> None:
        app_services.watch_terminal(get_current_worker().cancelled_event, self.LOOK_S)

    def on_runs_changed(self, message: RunsChanged) -> None:
        self.runs = message.runs
        self.looked = True
        self._engines.forget_ended()
        self.tell(message)

    def on_machine_sampled(self, message: MachineSampled) -> None:
        self.samples = [*self.samples[-self.SAMPLES + 1 :], message.sample]
        self.tell(message)

    def tell(self, message: Message) -> None:
        """Pass a message on to the screens that are open here, also where a dialog lies over them."""
        if self.is_running and self._screen_stacks.get(self.current_mode):
            for screen in self.screen_stack:
                if isinstance(screen, FtScreen):
                    screen.post_message(message)

    def service(self) -> "Client":
        return self._service.get()

    def renew_token(self, name: str) -> None:
        self._service.renew_token(name)

    async def on_unmount(self) -> None:
        # Textual cancels the workers before it runs the last callbacks, and one of those may start more of them: the
        # program would then wait for their threads for ever.
        self.workers.cancel_all()
        await asyncio.to_thread(self._service.close)

    # Screens

    @work
    async def offer_unsaved(self) -> None:
        """Offer recipe text back that an app had not saved when it was killed."""
        from screens.recipe.unsaved import left_behind

        for left in await asyncio.to_thread(left_behind):
            from screens.recipe.restore import Restore

            answer = await self.push_screen_wait(Restore(left))
            if answer == "open":
                self.open(EditRecipe(left.path, left.text, left))
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

    def go(self, scope: str) -> None:
        """Show a screen, with what is known by now."""
        self.switch_mode(scope)
        if self.looked:
            self.tell(RunsChanged(self.runs))
        if self.samples:
            self.tell(MachineSampled(self.samples[-1]))

    def open(self, intent: Intent) -> None:
        """Show the screen of an intent, and hand the intent to it."""
        self.go(intent.scope)
        self.tell(Intended(intent))

    # Engines

    async def start_run(self, text: str, path: Path | None) -> None:
        from ft.launch import launch

        await self._engines.start(lambda: launch(text, path, self.service()), CHECKING)

    async def resume_run(self, run_id: str, checkpoint: Path | None = None) -> None:
        from ft.launch import relaunch

        await self._engines.start(lambda: relaunch(run_id, checkpoint, self.service()), CHECKING)

    async def start_job(self, run: "Run") -> None:
        from engine.process.launcher import start

        await self._engines.start(lambda: start(run), f"Starting {run.id} …")

    # Preferences

    @property
    def preferences(self) -> "Preferences":
        return self._preferences.now

    @property
    def keymap(self) -> dict[str, str]:
        return self._preferences.keymap

    def change(self, **values: Any) -> None:
        self._preferences.change(values)

    # Errors and messages

    def fail(self, error: FtError) -> None:
        self.problems = [*self.problems[-self.PROBLEMS + 1 :], error]
        keys = " or ".join(shown(key) for key in keys_of(action_of("app.details"), self.keymap))
        first = error.message.splitlines()[0] if error.message else error.kind
        hint = f"{error.hint.splitlines()[0]}\n" if error.hint else ""
        self.notify(f"{hint}{keys} shows the details.", title=first, severity="error", timeout=10)

    def notify(self, message: str, *, markup: bool = True, **how: Any) -> None:
        """Never markup: messages hold names and paths, where brackets stand for themselves."""
        super().notify(message, markup=False, **how)

    def on_went_wrong(self, message: WentWrong) -> None:
        self.fail(message.error)

    def action_details(self) -> None:
        from screens.widgets.details import Details

        self.push_screen(Details(self.problems))

    def copy_to_clipboard(self, text: str) -> None:
        """By the terminal (OSC 52, which also works over SSH), and by the system's own tool where there is one."""
        super().copy_to_clipboard(text)
        if not self.is_headless:
            self.run_worker(lambda: copy_locally(text), thread=True, group="clipboard", exclusive=True)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's own, and one that lets no control character of a name or a row reach the terminal."""
        return [*super().get_line_filters(), self._without_controls]

    def _handle_exception(self, error: Exception) -> None:
        """A screen that was being put together when the app was left has not all of its widgets, which is no bug."""
        if not (self._exit and isinstance(error, NoMatches)):
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Say where the traceback is; Textual would print every frame with its values. Both restore the terminal."""
        from ft.crash_report import keep_traceback

        error = self._exception or RuntimeError("no exception")
        cause = getattr(error, "error", error)  # a worker's is wrapped
        self.bell()
        mistake = FtError(f"This is a bug in ft: {type(cause).__name__}: {cause}", keep_traceback(cause))
        self.panic(Text(f"{mistake.message}\n{mistake.hint}"))

    # Actions

    @property
    def front(self) -> FtScreen | None:
        """The screen in front, also where a dialog lies over it."""
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
        """True if an action can be done now, as far as that is known without its screen."""
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
            if what and not await self.push_screen_wait(Confirm("Leave ft?", "Discard the changes", what)):
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
