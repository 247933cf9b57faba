"""Messages that all screens share. Workers post them and never touch a widget; handlers own the state.

What the app passes on to a screen does not bubble: it would come back to the app, and round again.
"""

from typing import TYPE_CHECKING

from textual.message import Message

from engine.errors import FtError

if TYPE_CHECKING:
    from engine.hardware.sample import Sample
    from engine.runs.index.index import RunSummary
    from screens.intents import Intent


class RunsChanged(Message, bubble=False):
    """The runs as they are now, newest first. A newer one replaces an older one in the queue."""

    def __init__(self, runs: "tuple[RunSummary, ...]", unread: int = 0) -> None:
        super().__init__()
        self.runs = runs
        self.unread = unread
        """Runs that are there but not read yet."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsChanged)


class MachineSampled(Message, bubble=False):
    """A sample of the machine; comes about once a second."""

    def __init__(self, sample: "Sample") -> None:
        super().__init__()
        self.sample = sample

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, MachineSampled)


class WentWrong(Message):
    """Something failed; the app shows it with its hint, and keeps the details."""

    def __init__(self, error: FtError) -> None:
        super().__init__()
        self.error = error


class Intended(Message, bubble=False):
    """Another screen, or the app, wants something shown here."""

    def __init__(self, intent: "Intent") -> None:
        super().__init__()
        self.intent = intent
