"""The app with the machine's figures and the clock held still, and an engine that obeys without training."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from textual.pilot import Pilot

import ft.app
from engine.hardware.sample import Gpu, Sample
from engine.runs.directory.control import Control
from engine.runs.directory.run import Run
from ft.app import FtApp
from screens.messages import MachineSampled
from screens.monitor.screen import MonitorScreen
from tests.run_fixtures import STARTED

GB = 1_000_000_000


class StillApp(FtApp):
    """Looks at runs as the app does, but at no machine: the samples are given."""

    CSS_PATH = Path(ft.app.__file__).with_name("app.tcss")
    LOOK_S = 0.05

    def __init__(
        self, samples: list[Sample] | None = None, run: str | None = None, start: str = "monitor"
    ) -> None:
        super().__init__(start=start, run=run)
        self.given = samples or []

    def watch_machine(self) -> None:  # type: ignore[override]
        self.samples = self.given[:-1]
        for sample in self.given[-1:]:
            self.post_message(MachineSampled(sample))

    @property
    def monitor(self) -> MonitorScreen:
        screen = self.screen_stack[0]
        assert isinstance(screen, MonitorScreen)
        return screen


def laptop() -> list[Sample]:
    """A minute of a Mac."""
    return [
        Sample(
            t=STARTED + second,
            cpu=0.2 + 0.1 * (second % 3),
            memory_used=13 * GB + second * 20_000_000,
            memory_total=36 * GB,
            swap_used=0,
            swap_total=0,
            wired=3 * GB,
            compressed=1_200_000_000,
            pressure="normal",
            power=31.0 + second % 5,
            disk_free=212 * GB,
            engine_bytes=9 * GB,
            engine_cpu=1.4,
            unified=True,
            gpus=(Gpu("Apple M3 Pro", 0.9 + 0.01 * (second % 6), 11 * GB, power=24.0 + second % 4),),
        )
        for second in range(60)
    ]


def workstation() -> list[Sample]:
    """A minute of a machine with two NVIDIA GPUs."""
    return [
        Sample(
            t=STARTED + second,
            cpu=None if second == 0 else 0.1 + 0.02 * (second % 7),
            memory_used=20 * GB,
            memory_total=64 * GB,
            swap_used=500_000_000,
            swap_total=8 * GB,
            temperature=54.0,
            disk_free=1_400 * GB,
            gpus=(
                Gpu("NVIDIA RTX 4090", 0.97, 21 * GB, 24 * GB, 71.0 + second % 3, 402.0),
                Gpu("NVIDIA RTX 3060", 0.0, 0, 12 * GB, 41.0, 14.0),
            ),
        )
        for second in range(60)
    ]


async def until(pilot: Pilot[None], what: Callable[[], bool], seconds: float = 10.0) -> None:
    """Let the app go on until something holds."""
    for _ in range(int(seconds / 0.02)):
        if what():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not come to hold")


async def all_read(pilot: Pilot[None]) -> None:
    """Let the app take all that is in the run, and draw it."""
    app = pilot.app
    assert isinstance(app, StillApp)

    def done() -> bool:
        view = app.monitor.view
        return view is not None and view.alive is not None and (view.share == 1 or view.gone)

    await until(pilot, done)
    await drawn(pilot)


async def drawn(pilot: Pilot[None], looks: int = 4) -> None:
    """Wait until the screen has looked the same a few times in a row, however slow the machine is."""
    picture, same = "", 0
    while same < looks:
        await pilot.pause(0.06)
        now = pilot.app.export_screenshot()
        same = same + 1 if now == picture else 0
        picture = now


@contextmanager
def engine(run: Run) -> Iterator[Control]:
    """Hold the run's lock and take its commands, as an engine between two steps does."""
    over = threading.Event()
    control = Control(run)

    def obey() -> None:
        while not over.is_set() and not control.stop_requested:
            control.poll()
            over.wait(0.02)

    with run.locked():
        thread = threading.Thread(target=obey)
        thread.start()
        try:
            yield control
        finally:
            over.set()
            control.stop_requested = True
            thread.join()
