"""The full-screen app: it shows the screens, and watches runs and machine for them."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.message import Message
from textual.screen import Screen
from textual.worker import get_current_worker

from engine import paths
from engine.errors import FtError
from ft.shell import Shell
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
    from engine.client import Client
    from engine.hardware.sample import Sample
    from engine.process import Engine
    from engine.runs.index import RunSummary


def _screen(scope: str) -> Callable[[], Screen[Any]]:
    """Makes a screen when it is first gone to; its module is imported only then."""

    def make() -> Screen[Any]:
        made = getattr(import_module(f"screens.{scope}"), f"{scope.capitalize()}Screen")()
        assert isinstance(made, Screen)
        return made

    return make


class FtApp(Shell):
    """See `screens.host.Host` for what it does for the screens."""

    TITLE = "ft"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = bindings("app")
    MODES: ClassVar[dict[str, Any]] = {scope: _screen(scope) for _, scope, _ in SCREENS}
    SAMPLES = 600
    """Samples of the machine that are kept: ten minutes."""
    LOOK_S = 1.0

    def __init__(self, start: str = "home", run: str | None = None, only: bool = False) -> None:
        """`start` is the first screen, `run` what it shows; with `only`, there is no other."""
        super().__init__()
        self.runs: tuple[RunSummary, ...] = ()
        self.samples: list[Sample] = []
        self.engine_pid: int | None = None
        self._start = start
        self._run = run
        self._only = only
        self._looked = False
        self._service: Client | None = None
        self._starting = threading.Lock()
        self._engines: list[Engine] = []

    def on_mount(self) -> None:
        self._use_preferences()
        if not self.is_headless:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        if self._run is None:
            self.go(self._start)
        else:
            self.show_run(self._run)
        self.call_after_refresh(self._watch)

    def _watch(self) -> None:
        """Look outside, once the first picture stands: what that needs is imported only then."""
        gc.enable()
        self.watch_runs()
        self.watch_machine()

    async def on_unmount(self) -> None:
        if self._service is not None:
            await asyncio.to_thread(self._service.close)

    # What goes on outside

    @work(thread=True)
    def watch_runs(self) -> None:
        """Look at the runs folder each second, and tell what has changed."""
        from engine.runs.index import Index

        index, worker, last = Index(), get_current_worker(), None
        while not worker.is_cancelled:
            found = index.refresh(within=self.LOOK_S / 2)
            if found != last:
                self.post_message(RunsChanged(found))
                last = found
            worker.cancelled_event.wait(self.LOOK_S)

    @work(thread=True)
    def watch_machine(self) -> None:
        """Sample the machine each second."""
        from engine.hardware.monitor import Monitor

        monitor, worker = Monitor(), get_current_worker()
        while not worker.is_cancelled:
            self.post_message(MachineSampled(monitor.sample(self.engine_pid)))
            worker.cancelled_event.wait(self.LOOK_S)

    def on_runs_changed(self, message: RunsChanged) -> None:
        self.runs = message.runs
        self._looked = True
        self._engines = [engine for engine in self._engines if engine.supervisor.poll() is None]
        self._tell(message)

    def on_machine_sampled(self, message: MachineSampled) -> None:
        self.samples = [*self.samples[-self.SAMPLES + 1 :], message.sample]
        self._tell(message)

    def _tell(self, message: Message) -> None:
        """Pass news on to the screens that are open here, also where a dialog lies over them."""
        if self.is_running and self._screen_stacks.get(self.current_mode):
            for screen in self.screen_stack:
                if isinstance(screen, FtScreen):
                    screen.post_message(message)

    # What screens ask for

    def service(self) -> "Client":
        from engine.client import Client

        with self._starting:  # screens ask in threads of theirs, and one child is enough
            if self._service is None or not self._service.alive:
                self._service = Client(paths.cache() / "service.log")
            return self._service

    def renew_token(self, name: str) -> None:
        with self._starting:
            if self._service is not None and self._service.alive:
                self._service.renew(name)

    def go(self, scope: str) -> None:
        self.switch_mode(scope)
        if self._looked:
            self._tell(RunsChanged(self.runs))
        if self.samples:
            self._tell(MachineSampled(self.samples[-1]))

    def show_run(self, run_id: str) -> None:
        self.go("monitor")
        self._tell(ShowRun(run_id))

    def edit_recipe(self, path: Path | None = None, text: str | None = None) -> None:
        self.go("recipe")
        self._tell(EditRecipe(path, text))

    def chat_with(self, reference: str) -> None:
        self.go("chat")
        self._tell(ChatWith(reference))

    def show_data(self, source: str) -> None:
        self.go("datasets")
        self._tell(ShowData(source))

    async def start_run(self, text: str, path: Path | None) -> None:
        from ft.launch import launch

        await self._start_engine(lambda: launch(text, path, self.service()))

    async def resume_run(self, run_id: str, checkpoint: Path | None = None) -> None:
        from ft.launch import relaunch

        await self._start_engine(lambda: relaunch(run_id, checkpoint, self.service()))

    async def _start_engine(self, starting: "Callable[[], Engine]") -> None:
        """Start it in a thread, and show the run; what fails is shown."""
        self.notify("Checking the recipe and its data …", timeout=2)
        try:
            engine = await asyncio.to_thread(starting)
        except FtError as error:
            self.fail(error)
            return
        self._engines.append(engine)
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
            self.exit()
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
        self.exit(message=farewell(live, stopped=answer == "stop"))

    async def action_quit(self) -> None:
        """Textual's own binding of ctrl+q, which holds in dialogs too."""
        self.action_leave()


for _, _scope, _ in SCREENS:

    def _go(self: FtApp, scope: str = _scope) -> None:
        self.go(scope)

    setattr(FtApp, f"action_go_{_scope}", _go)


def open_app(start: str = "home", run: str | None = None, only: bool = False) -> int:
    """Run the app on this terminal until it is left; returns the exit code."""
    from ft.cli import BUG

    for name in (
        "COLUMNS",
        "LINES",
    ):  # where a shell exports them, Textual would never see the terminal resized
        os.environ.pop(name, None)
    app = FtApp(start, run, only)
    app.run()
    return BUG if app.return_code else 0
