"""Engines that the app starts, one at a time. They are processes of their own, which continue without the app."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.app import App

from engine.errors import FtError
from screens.messages import WentWrong

if TYPE_CHECKING:
    from engine.process.launcher import Engine

STARTING = "engine"
"""Group of the worker that starts one."""
CHECKING_S = 3.0
"""Seconds that a message about an engine that is being checked stands."""


class Engines:
    """Starter of engines."""

    def __init__(self, app: App[None], show: "Callable[[Engine], None]") -> None:
        """`show` is called with each that was started."""
        self._app = app
        self._show = show
        self._started: list[Engine] = []

    def forget_ended(self) -> None:
        """Collect the exit codes of engines that have ended."""
        self._started = [engine for engine in self._started if engine.supervisor.poll() is None]

    async def start(self, starting: "Callable[[], Engine]", doing: str) -> None:
        """Start an engine by `starting`, in a thread; `doing` is shown meanwhile. Failures are posted to the app.

        Nothing is done while another one is being started: a key may be pressed twice.
        """
        if any(worker.group == STARTING and worker.is_running for worker in self._app.workers):
            self._app.notify("A run is already starting.", timeout=CHECKING_S)
            return
        # shielded, since a screen may give up waiting, and the thread would start an engine all the same
        worker = self._app.run_worker(self._starting(starting, doing), group=STARTING)
        await asyncio.shield(worker.wait())

    async def _starting(self, starting: "Callable[[], Engine]", doing: str) -> None:
        thread = asyncio.ensure_future(asyncio.to_thread(starting))
        while not thread.done():  # an engine of a large model is checked for longer than one message stands
            self._app.notify(doing, timeout=CHECKING_S)
            await asyncio.wait({thread}, timeout=CHECKING_S)
        try:
            engine = await thread
        except FtError as error:
            self._app.post_message(WentWrong(error))
            return
        self._started.append(engine)
        self._show(engine)
