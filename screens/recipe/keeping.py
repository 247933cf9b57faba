"""Text of the Recipe screen that is not saved, kept on disk a moment after each change; see `unsaved`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from textual.timer import Timer
from textual.worker import get_current_worker

from engine.storage.disk_errors import explained
from screens.base import FtScreen
from screens.messages import WentWrong
from screens.recipe.unsaved import LeftBehind, Unsaved

KEEP_S = 1.0
"""After the last key, before the text is written down for the case that the app is killed."""
GROUP = "keep"
"""Group of the worker that writes it."""


class Keeping:
    """Has the text on disk exactly while it is not saved."""

    def __init__(self, screen: FtScreen, unsaved: Callable[[], tuple[Path | None, str | None]]) -> None:
        """`unsaved` gives the recipe's file and the text, None for one that is saved."""
        self._screen = screen
        self._now = unsaved
        self._unsaved = Unsaved()
        self._timer: Timer | None = None

    def keep(self, left: LeftBehind | None = None) -> None:
        """Write the text down, or remove it; `left` is where it was before."""
        path, text = self._now()
        work = partial(self._store, path, text, left)
        self._screen.run_worker(work, thread=True, group=GROUP, exclusive=True)

    def keep_soon(self) -> None:
        """`keep`, a moment after the last change."""
        self._stop()
        self._timer = self._screen.set_timer(KEEP_S, self.keep)

    def give_up(self) -> None:
        """Drop the text: nobody wants it."""
        self._stop()
        self._screen.workers.cancel_group(self._screen, GROUP)
        self._unsaved.discard()

    def close(self) -> None:
        """Leave what is on disk to the next app."""
        self._unsaved.close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()

    def _store(self, path: Path | None, text: str | None, left: LeftBehind | None) -> None:
        try:
            self._unsaved.store(path, text, left, get_current_worker().cancelled_event)
        except OSError as error:
            self._screen.post_message(WentWrong(explained(error)))
