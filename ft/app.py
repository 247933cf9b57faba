"""The full-screen app: it shows the screens, and watches runs and machine for them."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import App
from textual.message import Message
from textual.worker import get_current_worker

from engine import paths
from engine.client import Client
from engine.errors import FtError
from engine.hardware.monitor import Monitor, Sample
from engine.runs.index import Index, RunSummary
from screens import preferences
from screens.actions import SCREENS, bindings
from screens.chat import ChatScreen
from screens.datasets import DatasetsScreen
from screens.home import HomeScreen
from screens.messages import MachineSampled, RunsChanged, WentWrong
from screens.models import ModelsScreen
from screens.monitor import MonitorScreen
from screens.recipe import RecipeScreen
from screens.runs import RunsScreen
from screens.settings import SettingsScreen
from screens.themes import THEMES


class FtApp(App[None]):
    """See `screens.host.Host` for what it does for the screens."""

    TITLE = "ft"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = bindings("app")
    MODES: ClassVar[dict[str, Any]] = {
        "home": HomeScreen,
        "models": ModelsScreen,
        "datasets": DatasetsScreen,
        "recipe": RecipeScreen,
        "monitor": MonitorScreen,
        "runs": RunsScreen,
        "chat": ChatScreen,
        "settings": SettingsScreen,
    }
    DEFAULT_MODE = "home"
    SAMPLES = 600
    """Samples of the machine that are kept: ten minutes."""
    LOOK_S = 1.0

    def __init__(self, start: str = "home", run: str | None = None) -> None:
        super().__init__()
        self.preferences = preferences.load()
        self.runs: tuple[RunSummary, ...] = ()
        self.samples: list[Sample] = []
        self.problems: list[FtError] = []
        self._start = start
        self._run = run
        self._service: Client | None = None

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.preferences.theme if self.preferences.theme in self.available_themes else "ft-dark"
        self.set_keymap(self.preferences.keys)
        if self._start != self.DEFAULT_MODE:
            self.go(self._start)
        self.watch_runs()
        self.watch_machine()

    @work(thread=True, exit_on_error=False)
    def watch_runs(self) -> None:
        """Look at the runs folder each second, and tell what has changed."""
        index, worker, last = Index(), get_current_worker(), None
        while not worker.is_cancelled:
            found = index.refresh()
            if found != last:
                self.post_message(RunsChanged(found))
                last = found
            worker.cancelled_event.wait(self.LOOK_S)

    @work(thread=True, exit_on_error=False)
    def watch_machine(self) -> None:
        """Sample the machine each second."""
        monitor, worker = Monitor(), get_current_worker()
        while not worker.is_cancelled:
            self.post_message(MachineSampled(monitor.sample()))
            worker.cancelled_event.wait(self.LOOK_S)

    def on_runs_changed(self, message: RunsChanged) -> None:
        self.runs = message.runs
        self._tell(message)

    def on_machine_sampled(self, message: MachineSampled) -> None:
        self.samples = [*self.samples[-self.SAMPLES + 1 :], message.sample]
        self._tell(message)

    def _tell(self, message: Message) -> None:
        """Pass news on to the screen in front, also where a dialog lies over it."""
        if self.is_running and self._screen_stacks.get(self.current_mode):
            self.screen_stack[0].post_message(message)

    def on_went_wrong(self, message: WentWrong) -> None:
        self.fail(message.error)

    def change(self, **values: Any) -> None:
        self.preferences = replace(self.preferences, **values)
        preferences.save(self.preferences)

    def service(self) -> Client:
        if self._service is None:
            self._service = Client(paths.cache() / "service.log")
        return self._service

    def go(self, scope: str) -> None:
        self.switch_mode(scope)

    def show_run(self, run_id: str) -> None:
        self.go("monitor")

    def edit_recipe(self, path: Path | None = None, text: str | None = None) -> None:
        self.go("recipe")

    def chat_with(self, reference: str) -> None:
        self.go("chat")

    def show_data(self, source: str) -> None:
        self.go("datasets")

    def fail(self, error: FtError) -> None:
        self.problems.append(error)
        self.notify(error.hint, title=error.message, severity="error", timeout=10)

    def action_leave(self) -> None:
        self.exit()


def _go(scope: str) -> Any:
    def action(self: FtApp) -> None:
        self.go(scope)

    return action


for _, _scope, _ in SCREENS:
    setattr(FtApp, f"action_go_{_scope}", _go(_scope))
