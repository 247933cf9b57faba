"""The base of all screens: the bar above, the keys below, and a way to the app."""

from collections.abc import Iterable
from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import get_current_worker

from screens.actions import bindings
from screens.host import Host
from screens.intents import Intent
from screens.messages import Intended, RunsChanged
from screens.widgets.keys import Keys
from screens.widgets.navigation import Navigation, training_now


class FtScreen(Screen[None]):
    """A screen of the app. A subclass sets `SCOPE` and gives its widgets in `body`."""

    SCOPE: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium"), (160, "-wide")]  # noqa: RUF012 - Textual's own

    def __init_subclass__(cls) -> None:
        own: list[BindingType] = bindings(cls.SCOPE)
        cls.BINDINGS = own
        super().__init_subclass__()

    def __init__(self) -> None:
        super().__init__()
        # Its widgets get the styles of now as they are mounted. Textual takes a new screen for one from before a
        # change of theme, and parses every style of the app again, twice, before it shows it.
        self._css_update_count = self.app._css_update_count

    @property
    def host(self) -> Host:
        return cast(Host, self.app)

    def compose(self) -> ComposeResult:
        yield Navigation(self.SCOPE)
        yield from self.body()
        yield Keys()

    def body(self) -> Iterable[Widget]:
        """The widgets between the bars."""
        raise NotImplementedError

    def receive(self, intent: Intent) -> None:
        """Show what an intent asks for. A screen that intents lead to has its own."""
        raise NotImplementedError(f"{self.SCOPE} takes no {type(intent).__name__}")

    def on_intended(self, message: Intended) -> None:
        self.receive(message.intent)

    def unsaved(self) -> str:
        """A sentence about what would be lost if the app ended now; empty if nothing."""
        return ""

    def give_up(self) -> None:
        """Drop what is not saved: the app is left, and nobody wants it."""

    def post_answer(self, message: Message) -> None:
        """Post what an exclusive worker's thread has found, unless a newer one has taken its place: Textual cancels the
        older worker, but its thread continues, and its answer would come last."""
        if not get_current_worker().is_cancelled:
            self.post_message(message)

    def on_runs_changed(self, message: RunsChanged) -> None:
        """Textual calls this one and the subclass's own."""
        self.query_one(Navigation).show_training(training_now(message.runs))
