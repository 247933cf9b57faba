"""What workers tell the screens. Workers post these and never touch a widget; handlers own the state.

What the app passes on to a screen does not bubble: it would come back to the app, and round again.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from engine.errors import FtError

if TYPE_CHECKING:
    from engine.hardware.sample import Sample
    from engine.runs.index.index import RunSummary
    from screens.recipe.unsaved import LeftBehind


class RunsChanged(Message, bubble=False):
    """The runs folder as it is now, newest first. A newer one replaces an older one in the queue."""

    def __init__(self, runs: "tuple[RunSummary, ...]", unread: int = 0) -> None:
        super().__init__()
        self.runs = runs
        self.unread = unread
        """Runs that are there and not read yet."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsChanged)


class MachineSampled(Message, bubble=False):
    """What the machine does now; comes about once a second."""

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


class ShowRun(Message, bubble=False):
    """Monitor, show this run."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id


class EditRecipe(Message, bubble=False):
    """Recipe, show this file, or this text that has no file yet; both None: whatever is open.

    `left`: where the text comes from that an app had not saved; that is removed once the text is open.
    """

    def __init__(self, path: Path | None, text: str | None, left: "LeftBehind | None" = None) -> None:
        super().__init__()
        self.path = path
        self.text = text
        self.left = left


class ChatWith(Message, bubble=False):
    """Chat, talk to this run or checkpoint."""

    def __init__(self, reference: str) -> None:
        super().__init__()
        self.reference = reference


class ShowData(Message, bubble=False):
    """Datasets, show this file or folder of rows."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
