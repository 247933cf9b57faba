"""Watchers of runs, machine and terminal, and the service process that the app uses.

The `watch_…` functions block until they are cancelled; the app runs each in a thread.
"""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

from engine import paths
from screens.messages import MachineSampled, RunsChanged

if TYPE_CHECKING:
    from engine.service.client import Client


def watch_runs(post: Callable[[Message], object], cancelled: threading.Event, every_s: float) -> None:
    """Read the runs folder again and again, and post what has changed."""
    from engine.runs.index.index import Index

    index, last = Index(), None
    while not cancelled.is_set():
        found = index.refresh(within=every_s / 2)
        if (found, index.unread) != last:
            post(RunsChanged(found, index.unread))
            last = (found, index.unread)
        cancelled.wait(every_s / 10 if index.unread else every_s)


def watch_machine(
    post: Callable[[Message], object],
    cancelled: threading.Event,
    every_s: float,
    engine_pid: Callable[[], int | None],
) -> None:
    """Sample the machine, and the engine that is shown, again and again."""
    from engine.hardware.monitor import Monitor

    monitor = Monitor()
    while not cancelled.is_set():
        post(MachineSampled(monitor.sample(engine_pid())))
        cancelled.wait(every_s)


def watch_terminal(cancelled: threading.Event, every_s: float) -> None:
    """End the process with its terminal, also where no signal announces that: there is nothing left to restore.

    Textual would read a closed terminal for ever, with a whole core, and wait in its own loop to write.
    """
    while not cancelled.wait(every_s):
        if not os.isatty(0):
            os._exit(0)


class ServiceProcess:
    """The process that plans, previews and answers for the screens. May be used from any thread."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._starting = threading.Lock()

    def get(self) -> "Client":
        """The client of the process, which is started where none runs."""
        from engine.service.client import Client

        with self._starting:  # screens ask in threads of theirs, and one process is enough
            if self._client is None or not self._client.alive:
                self._client = Client(paths.cache() / "service.log")
            return self._client

    def renew_token(self, name: str) -> None:
        """Let the process, if it runs, know that a token was set or removed."""
        with self._starting:
            if self._client is not None and self._client.alive:
                self._client.renew(name)

    def close(self) -> None:
        """End the process, if there is one. Blocks."""
        if self._client is not None:
            self._client.close()
