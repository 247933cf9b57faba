"""What the screens may ask of the app that shows them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.errors import FtError
from screens.preferences import Preferences

if TYPE_CHECKING:
    from engine.hardware.sample import Sample
    from engine.runs.index.index import RunSummary
    from engine.service.client import Client


class Host(Protocol):
    """The app, seen from a screen. All of it is called on the app's own thread, except `service`."""

    runs: "tuple[RunSummary, ...]"
    """The runs as last seen, newest first; `RunsChanged` tells of news."""
    samples: "list[Sample]"
    """The machine's last samples, oldest first; `MachineSampled` tells of news."""
    engine_pid: int | None
    """The engine whose memory and CPU the samples tell: Monitor sets it to the run that it shows."""
    preferences: Preferences
    keymap: dict[str, str]
    """A person's own keys by action id, as far as they can be used."""

    def change(self, **values: Any) -> None:
        """Change preferences, at once and on disk."""

    def service(self) -> "Client":
        """The warm child that answers questions, started when it is first asked for.

        May take a while: call it in a thread.
        """

    def renew_token(self, name: str) -> None:
        """Let the warm child, if there is one, know that a token was set or forgotten. Call it in a thread."""

    def go(self, scope: str) -> None:
        """Show a screen."""

    def show_run(self, run_id: str) -> None:
        """Show a run, training or not, in Monitor."""

    def edit_recipe(self, path: Path | None = None, text: str | None = None) -> None:
        """Show a recipe file, or a text that has no file yet, in Recipe."""

    def chat_with(self, reference: str) -> None:
        """Talk to a run or a checkpoint in Chat."""

    def show_data(self, source: str) -> None:
        """Show a file or folder of rows in Datasets."""

    async def start_run(self, text: str, path: Path | None) -> None:
        """Train a recipe's text that stands, or would stand, at `path`, and show the run. Failures are shown.

        The engine is a process of its own; it goes on without the app. Checking takes seconds: call this in a
        worker (`@work`), so that the screen stays alive meanwhile.
        """

    async def resume_run(self, run_id: str, checkpoint: Path | None = None) -> None:
        """Go on with a run, from its last checkpoint or a given one, and show it. Failures are shown."""

    def fail(self, error: FtError) -> None:
        """Show an error: one line with its hint, the details one key away."""
