"""Cost of the app's live charts: a frame, the delay from event to screen, stalls of the app, and its memory.

    .venv/bin/python benchmarks/monitor.py [--only frame|delay|stalls|soak] [--events 1000000]

All of it is the real app on a pseudo-terminal, following a real file of events:

- frame: Monitor shows a run of 100k points a curve; a new step comes before each frame. A frame is everything that
  the app's event loop does from taking the event to having written the screen.
- delay: `ft monitor RUN` while another process appends 100 events a second: from the write of a step until that
  step, or a later one, stands on the screen.
- stalls: the longest time for which the app's event loop does not come round while a run of 100k steps is opened
  in Monitor and in Runs, smoothed differently, zoomed, and drawn over another axis.
- soak: a run grows to a million steps under Monitor's eyes: resident memory on the way, and whether a look into
  its old part shows each step as it stands in the file.

Wall time is what passes; processor time is that of the app's main thread, or of its process where said so.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from monitor_run import RUN, Terminal, step_lines, write_run  # noqa: E402

POINTS = 100_000
SIZES = ((120, 36), (200, 50))
RATE = 100
LIMIT_S = 1200
"""For one part; it has failed if it takes longer."""
WANTED = {"frame": 16.0, "delay": 200.0, "stalls": 16.0, "soak": 4.0}
SHOWN = re.compile(rb"step (\d[\d\xe2\x80\xaf]*)/")
"""The step that Monitor says the run is at; thin spaces stand between its thousands."""


def inside(part: str, home: Path, size: tuple[int, int], **options: Any) -> dict[str, Any]:
    """Let the app measure a part of itself on a terminal of this size."""
    out = home / "measured.json"
    command = [sys.executable, ROOT / "benchmarks" / "monitor_app.py", part, str(out), json.dumps(options)]
    with Terminal(command, home, size) as terminal:
        until = time.monotonic() + LIMIT_S
        while terminal.process.poll() is None and time.monotonic() < until:
            terminal.read(0.2)
    if not out.exists():
        sys.exit(f"{part} failed: {terminal.seen.decode('utf-8', 'replace')[-4000:]}")
    return dict(json.loads(out.read_text()))


def frame(chosen: argparse.Namespace) -> None:
    print(f"a frame, {chosen.points} points a curve, {chosen.frames} frames")
    print(f"{'size':<9} {'cpu median':>11} {'p95':>8} {'wall median':>12} {'p95':>8}")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as home:
            write_run(Path(home), chosen.points)
            found = inside("frame", Path(home), size, points=chosen.points, frames=chosen.frames)
        cpu, wall = found["cpu"], found["wall"]
        print(
            f"{size[0]}x{size[1]:<5} {statistics.median(cpu):>8.1f} ms {p95(cpu):>5.1f} ms "
            f"{statistics.median(wall):>9.1f} ms {p95(wall):>5.1f} ms"
        )
    print(f"wanted: below {WANTED['frame']:.0f} ms\n")


def delay(chosen: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write_run(Path(folder), 500)
        command = [sys.executable, "-P", "-m", "ft.cli", "monitor", RUN]
        with Terminal(command, Path(folder), SIZES[0]) as terminal:
            while not SHOWN.search(terminal.seen):
                terminal.read(0.1)
            rest = time.monotonic() + 3
            while time.monotonic() < rest:
                terminal.read(0.1)
            before = terminal.cpu()
            delays = _watched(terminal, file, chosen.seconds)
            used = terminal.cpu() - before
    print(f"event to screen, {RATE} events a second for {chosen.seconds} s at {SIZES[0][0]}x{SIZES[0][1]}")
    print(f"median {statistics.median(delays):.0f} ms, p95 {p95(delays):.0f} ms, worst {max(delays):.0f} ms")
    print(f"processor time of the app meanwhile: {used / chosen.seconds:.0%} of a core")
    print(f"wanted: below {WANTED['delay']:.0f} ms\n")


def _watched(terminal: Terminal, file: Path, seconds: float) -> list[float]:
    """Append steps at the rate, and look at the screen; returns the milliseconds that each took to be seen."""
    first, written, delays, seen = 501, {}, [], 500
    start = time.perf_counter()
    until, number = start + seconds, first
    while time.perf_counter() < until or seen < number - 1:
        due = start + (number - first) / RATE
        if time.perf_counter() >= due and time.perf_counter() < until:
            with file.open("ab") as out:
                out.write(next(iter(step_lines(number))))
            written[number] = time.perf_counter()
            number += 1
            continue
        found = terminal.read(max(0.0, min(due - time.perf_counter(), 0.05)))
        now = time.perf_counter()
        for match in SHOWN.finditer(terminal.seen if found else b""):
            shown = int(re.sub(rb"\D", b"", match[1]))
            delays += [(now - written[step]) * 1000 for step in range(seen + 1, shown + 1)]
            seen = max(seen, shown)
    return delays


def stalls(chosen: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as home:
        write_run(Path(home), chosen.points)
        found = inside("stalls", Path(home), SIZES[0])
    print(f"longest turn of the app's event loop, a run of {chosen.points} steps")
    print(f"{'':<24} {'wall':>9} {'cpu':>9} {'turns over 16 ms':>18}")
    for name, (wall, cpu, over) in found.items():
        print(f"{name:<24} {wall:>6.1f} ms {cpu:>6.1f} ms {over:>18}")
    print(f"wanted: at most {WANTED['stalls']:.0f} ms\n")


def soak(chosen: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as home:
        write_run(Path(home), 0)
        found = inside("soak", Path(home), SIZES[0], steps=chosen.events)
    print(f"a run that grows to {chosen.events} steps while Monitor follows it")
    for step, size in found["memory"].items():
        print(f"step {int(step):>9}: {size / 1e6:>7.1f} MB")
    x0, x1 = found["zoomed"]
    truth = "each as in the file" if found["exact"] else "NOT as in the file"
    print(f"steps {x0:.0f} to {x1:.0f}, zoomed in on: {truth}, after {found['seconds']:.2f} s")
    print(f"memory then: {found['after'] / 1e6:.1f} MB")
    print(f"wanted: from a quarter of the steps to all of them at most {WANTED['soak']:.0f} MB more\n")


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


PARTS = {"frame": frame, "delay": delay, "stalls": stalls, "soak": soak}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--events", type=int, default=1_000_000)
    chosen = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    for part in chosen.only:
        PARTS[part](chosen)


if __name__ == "__main__":
    main()
