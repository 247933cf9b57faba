"""The app measured from within: run by benchmarks/monitor.py on a pseudo-terminal.

    python benchmarks/monitor_app.py PART OUT OPTIONS

PART is frame, stalls or soak; OUT is the file that takes what was measured, as JSON, as OPTIONS are.
"""

import asyncio
import gc
import json
import sys
import time
from asyncio.events import Handle
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from monitor_run import RUN, loss, step_lines  # noqa: E402

from engine.runs.directory.events import decode  # noqa: E402
from ft.app import FtApp  # noqa: E402
from screens.monitor import follow  # noqa: E402
from screens.monitor.screen import MonitorScreen  # noqa: E402

Found = dict[str, Any]
WRITER = str(Path(__file__).with_name("monitor_run.py"))
QUIET_S = 0.3
WARM = 10
"""Frames that are drawn before any is counted."""


class Slices:
    """Each turn of the event loop: how long nothing else could have had its own."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        run = Handle._run

        def timed(handle: Handle) -> None:
            wall, cpu = time.perf_counter(), time.thread_time()
            run(handle)
            self.wall.append((time.perf_counter() - wall) * 1000)
            self.cpu.append((time.thread_time() - cpu) * 1000)

        Handle._run = timed  # type: ignore[method-assign]

    def take(self) -> tuple[list[float], list[float]]:
        """Milliseconds of all turns since the last call: wall, and processor time of this thread."""
        found = self.wall, self.cpu
        self.wall, self.cpu = [], []
        return found


class Measured(FtApp):
    """The app, with something that drives it."""

    CSS_PATH = ROOT / "ft" / "app.tcss"

    def __init__(self, drive: Callable[["Measured"], Awaitable[Found]], out: Path, run: str | None) -> None:
        super().__init__(start="monitor", run=run)
        self._drive, self._out = drive, out

    def on_ready(self) -> None:
        self.run_worker(self._measure())

    async def _measure(self) -> None:
        self._out.write_text(json.dumps(await self._drive(self)))
        self.exit()

    @property
    def monitor(self) -> MonitorScreen:
        screen = self.screen_stack[0]
        assert isinstance(screen, MonitorScreen)
        return screen

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await asyncio.sleep(0.005)

    async def all_read(self) -> None:
        """Wait until the run is read and drawn."""
        await self.until(lambda: self.monitor.view is not None and self.monitor.view.share == 1)
        await asyncio.sleep(QUIET_S)


async def frame(app: Measured, points: int, frames: int) -> Found:
    """The cost of each frame with a new step in it."""
    await app.all_read()
    screen, slices, written = app.monitor, Slices(), asyncio.Event()
    driver = app._driver
    assert driver is not None
    flush = driver.flush

    def flushed() -> None:
        flush()
        written.set()

    driver.flush = flushed  # type: ignore[method-assign]
    app.workers.cancel_group(screen, "follow")
    await asyncio.sleep(QUIET_S)
    cpu, wall = [], []
    for number in range(points + 1, points + frames + WARM + 1):
        events = tuple(event for line in step_lines(number) if (event := decode(line)) is not None)
        slices.take()
        written.clear()
        screen.post_message(follow.EventsRead(screen.follower.token, events, 1.0, 0))
        screen.call_next(screen._paint)
        await written.wait()
        await asyncio.sleep(0.04)
        if number > points + WARM:
            walls, cpus = slices.take()
            wall.append(sum(walls))
            cpu.append(sum(cpus))
    shown = [len(line.series) for chart in screen.charts if chart.display for line in chart.lines]
    return {"cpu": cpu, "wall": wall, "shown": shown}


async def stalls(app: Measured) -> Found:
    """The longest turns of the event loop while things are done with a run of 100k steps."""
    slices = Slices()
    found: dict[str, tuple[float, float, int]] = {}

    async def phase(name: str, work: Callable[[], object], settled: Callable[[], bool] | None = None) -> None:
        await asyncio.sleep(QUIET_S)
        slices.take()
        work()
        await asyncio.sleep(QUIET_S)
        await app.until(settled or (lambda: True))
        await asyncio.sleep(QUIET_S)
        wall, cpu = slices.take()
        before = found.get(name, (0.0, 0.0, 0))
        over = sum(1 for each in wall if each > 16)
        found[name] = (max(before[0], *wall), max(before[1], *cpu), before[2] + over)

    await asyncio.sleep(1.0)
    screen = app.monitor
    await phase(
        "opened in Monitor",
        lambda: screen.show(RUN),
        lambda: screen.view is not None and screen.view.share == 1,
    )
    for weight in ("smoother", "smoother", "rougher"):
        await phase(f"Monitor, {weight}", getattr(screen, f"action_{weight}"))
    for way, times in (("in", 8), ("out", 8)):
        for _ in range(times):
            await phase(f"Monitor, zoomed {way}", getattr(screen, f"action_zoom_{way}"))
    await phase("Monitor, over time", screen.action_axis)
    await phase("opened in Runs", lambda: app.go("runs"), lambda: _runs_settled(app))
    runs: Any = app.screen_stack[0]
    await phase("Runs, smoother", runs.action_smoother, lambda: _runs_settled(app))
    for _ in range(8):
        await phase("Runs, zoomed in", runs.action_zoom_in)
    await phase("Runs, over time", runs.action_axis, lambda: _runs_settled(app))
    return found


def _runs_settled(app: Measured) -> bool:
    screen: Any = app.screen_stack[0]
    return screen.SCOPE == "runs" and screen.settled and bool(screen.chart.lines)


async def soak(app: Measured, steps: int) -> Found:
    """Resident memory on the way to so many steps, and how an old part looks after."""
    process, memory = psutil.Process(), {}
    await app.until(lambda: app.monitor.view is not None and app.monitor.view.alive is not None)
    writer = await asyncio.create_subprocess_exec(sys.executable, WRITER, str(steps))
    every = steps // 8

    def step() -> int:
        view = app.monitor.view
        return view.state.step if view is not None else 0

    for mark in range(every, steps + 1, every):
        while step() < mark:
            await asyncio.sleep(0.02)
        memory[step()] = process.memory_info().rss
    await writer.wait()
    await asyncio.sleep(1.0)
    screen = app.monitor
    chart = screen.charts[0]
    middle = steps // 5
    chart.zoom(steps / 100, middle)
    await asyncio.sleep(0.1)
    x0, x1 = chart.view
    wanted = {number: loss(number) for number in range(int(x0) + 1, int(x1) + 1)}

    def exact() -> bool:
        drawn = chart.lines[0].series
        return all(drawn.nearest(number) == (number, value) for number, value in wanted.items())

    start = time.perf_counter()
    while not exact() and time.perf_counter() - start < 20:
        await asyncio.sleep(0.02)
    return {
        "memory": memory,
        "zoomed": [x0, x1],
        "exact": exact(),
        "seconds": time.perf_counter() - start,
        "after": process.memory_info().rss,
    }


def main() -> None:
    gc.disable()  # as ft does
    part, out, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    drives: dict[str, Callable[..., Awaitable[Found]]] = {"frame": frame, "stalls": stalls, "soak": soak}
    Measured(lambda app: drives[part](app, **options), out, None if part == "stalls" else RUN).run()


if __name__ == "__main__":
    main()
