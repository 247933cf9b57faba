"""The app as its screens see it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.errors import FtError
from screens.preferences import Preferences

if TYPE_CHECKING:
    from engine.hardware.sample import Sample
    from engine.runs.directory.run import Run
    from engine.runs.index.index import RunSummary
    from engine.service.client import Client
    from screens.intents import Intent


class Host(Protocol):
    """The app, for a screen. All of it is called on the app's own thread, except `service` and `renew_token`."""

    runs: "tuple[RunSummary, ...]"
    """The runs as last read, newest first; `RunsChanged` announces news."""
    samples: "list[Sample]"
    """The machine's last samples, oldest first; `MachineSampled` announces news."""
    engine_pid: int | None
    """The engine whose memory and CPU are sampled: Monitor sets it to that of the run it shows."""
    preferences: Preferences
    keymap: dict[str, str]
    """A person's own keys by action id, as far as they can be used."""

    def change(self, **values: Any) -> None:
        """Change preferences, here and on disk."""

    def service(self) -> "Client":
        """The service process that plans, previews and answers, started when it is first needed.

        May take a while: call it in a thread.
        """

    def renew_token(self, name: str) -> None:
        """Let the service process, if it runs, know that a token was set or removed. Call it in a thread."""

    def open(self, intent: "Intent") -> None:
        """Show what an intent asks for, on the screen that it names."""

    async def start_run(self, text: str, path: Path | None) -> None:
        """Train a recipe whose file is, or would be, `path`, and show the run. Failures are shown.

        The engine is a process of its own that continues without the app. Checking takes seconds: call this in a
        worker (`@work`), so that the screen stays responsive.
        """

    async def resume_run(self, run_id: str, checkpoint: Path | None = None) -> None:
        """Resume a run from its last checkpoint or a given one, and show it. Failures are shown."""

    async def start_job(self, run: "Run") -> None:
        """Start the engine of a new run that is no training, and show it. Failures are shown."""

    def fail(self, error: FtError) -> None:
        """Show an error: one line with its hint, the details one key away."""
