"""What the app knows of the world outside: runs, machine, the engines that it started, and the warm child."""

import asyncio
import gc
import os
import threading
from typing import TYPE_CHECKING

from textual import work
from textual.message import Message
from textual.worker import get_current_worker

from engine import paths
from ft.app_base import AppBase
from screens.base import FtScreen
from screens.messages import MachineSampled, RunsChanged

if TYPE_CHECKING:
    from engine.hardware.sample import Sample
    from engine.process.launcher import Engine
    from engine.runs.index.index import RunSummary
    from engine.service.client import Client


def settle_memory() -> None:
    """What is there stays: to look through it for garbage again and again would hold the app up."""
    gc.freeze()
    gc.enable()  # the program turned it off until its first picture


class AppServices(AppBase):
    """Looks outside in threads, keeps what was last seen, and tells the screens."""

    SAMPLES = 600
    """Samples of the machine that are kept: ten minutes."""
    LOOK_S = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.runs: tuple[RunSummary, ...] = ()
        self.looked = False
        """Whether `runs` are known."""
        self.samples: list[Sample] = []
        self.engine_pid: int | None = None
        self.started: list[Engine] = []
        """Engines that this app started, until they have ended."""
        self._service: Client | None = None
        self._starting = threading.Lock()

    def look_outside(self) -> None:
        """Look outside, once the first picture stands: what that needs is imported only then."""
        settle_memory()
        self.watch_runs()
        self.watch_machine()

    @work(thread=True)
    def watch_runs(self) -> None:
        """Look at the runs folder each second, and tell what has changed."""
        from engine.runs.index.index import Index

        index, worker, last = Index(), get_current_worker(), None
        while not worker.is_cancelled:
            found = index.refresh(within=self.LOOK_S / 2)
            if (found, index.unread) != last:
                self.post_message(RunsChanged(found, index.unread))
                last = (found, index.unread)
            worker.cancelled_event.wait(self.LOOK_S / 10 if index.unread else self.LOOK_S)

    @work(thread=True)
    def watch_machine(self) -> None:
        """Sample the machine each second."""
        from engine.hardware.monitor import Monitor

        monitor, worker = Monitor(), get_current_worker()
        while not worker.is_cancelled:
            self.post_message(MachineSampled(monitor.sample(self.engine_pid)))
            worker.cancelled_event.wait(self.LOOK_S)

    @work(thread=True)
    def watch_terminal(self) -> None:
        """End with the terminal, also where no signal tells of its end: there is nothing left to put right.

        Textual would read a closed terminal for ever, with a whole core, and wait in its own loop to write.
        """
        worker = get_current_worker()
        while not worker.cancelled_event.wait(self.LOOK_S):
            if not os.isatty(0):
                os._exit(0)

    def on_runs_changed(self, message: RunsChanged) -> None:
        self.runs = message.runs
        self.looked = True
        self.started = [engine for engine in self.started if engine.supervisor.poll() is None]
        self.tell(message)

    def on_machine_sampled(self, message: MachineSampled) -> None:
        self.samples = [*self.samples[-self.SAMPLES + 1 :], message.sample]
        self.tell(message)

    def tell(self, message: Message) -> None:
        """Pass news on to the screens that are open here, also where a dialog lies over them."""
        if self.is_running and self._screen_stacks.get(self.current_mode):
            for screen in self.screen_stack:
                if isinstance(screen, FtScreen):
                    screen.post_message(message)

    # The warm child

    def service(self) -> "Client":
        from engine.service.client import Client

        with self._starting:  # screens ask in threads of theirs, and one child is enough
            if self._service is None or not self._service.alive:
                self._service = Client(paths.cache() / "service.log")
            return self._service

    def renew_token(self, name: str) -> None:
        with self._starting:
            if self._service is not None and self._service.alive:
                self._service.renew(name)

    async def on_unmount(self) -> None:
        # Textual cancels the workers before it runs the last callbacks, and one of those may start more of them: the
        # program would then wait for their threads for ever.
        self.workers.cancel_all()
        if self._service is not None:
            await asyncio.to_thread(self._service.close)
