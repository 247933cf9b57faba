"""Time until Recipe shows a typed key, and the plan of the text after it.

    .venv/bin/python benchmarks/recipe.py [--keys 60] [--plans 30]

The real app on a pseudo-terminal of 120 by 36, with the service that plans, the starter model and its data.
First `epochs` is given another digit again and again, each once the plan before it is shown; then comments are
typed, a key each 150 ms, so that each is followed by a look over the text and a plan. A time runs
from the key's byte on the terminal to the bytes that show it there. All that is read is kept with its time and
looked at afterwards, so that reading does not slow down what is measured.
"""

import argparse
import os
import select
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import psutil
import pyte
from terminal import spawn

ROOT = Path(__file__).resolve().parent.parent
SIZE = (120, 36)
GAP_S, REST_S, PATIENCE_S = 0.15, 0.7, 60.0
KEY_MS, PLAN_MS = 16.0, 300.0
"""Target times."""
TYPED = "orders of one day, by hand "
LINE = len(TYPED)
END_OF_TEXT, BACKSPACE = b"\x1b[6~\x1b[F", b"\x7f"
"""Page down and end; backspace."""


class Terminal:
    """The app on a terminal of its own; what it draws is kept with the time at which it came."""

    def __init__(self, folder: Path) -> None:
        self.child, self.master = spawn([sys.executable, "-P", "-m", "ft.cli"], folder, SIZE)
        self.screen = pyte.Screen(*SIZE)
        self.stream = pyte.ByteStream(self.screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.terminate()
        self.child.wait()
        os.close(self.master)

    def press(self, key: bytes) -> float:
        """Type; returns when."""
        at = time.perf_counter()
        os.write(self.master, key)
        return at

    def read(self, seconds: float) -> list[tuple[float, bytes]]:
        """Output drawn within so many seconds, each piece with its time."""
        found, end = [], time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if select.select([self.master], [], [], left)[0]:
                data = os.read(self.master, 65536)
                found.append((time.perf_counter(), data))
        return found

    def shown(self, drawn: list[tuple[float, bytes]], text: str) -> float | None:
        """Time at which a text appeared on the screen; None if it did not. All that was drawn is fed to the screen."""
        when = None
        for at, data in drawn:
            self.stream.feed(data)
            if when is None and text in "\n".join(self.screen.display):
                when = at
        return when

    def wait_for(self, text: str, every: float = 0.1) -> float:
        """Look now and then until a text stands on the screen; returns when it came."""
        end = time.monotonic() + PATIENCE_S
        while (when := self.shown(self.read(every), text)) is None:
            if time.monotonic() > end:
                raise SystemExit(f"never: {text}\n" + "\n".join(self.screen.display))
        return when


def keys(terminal: Terminal, number: int) -> tuple[list[float], float]:
    """Milliseconds from key to screen, and the milliseconds of CPU that the app took for each."""
    process, took, used = psutil.Process(terminal.child.pid), [], 0.0
    for count in range(number):
        if count % LINE == 0:
            terminal.press(b"\r# ")
            terminal.read(REST_S)
            line = "# "
        before, line = sum(process.cpu_times()[:2]), line + TYPED[count % LINE]
        at = terminal.press(line[-1].encode())
        took.append((terminal.wait_for(line.rstrip(), GAP_S) - at) * 1000)
        used += sum(process.cpu_times()[:2]) - before
    return took, used * 1000 / number


def plans(terminal: Terminal, number: int) -> list[float]:
    """Milliseconds from the digit to the plan that counts with it."""
    took = []
    for count in range(number):
        digit = 2 + count % 8
        terminal.press(BACKSPACE)
        terminal.wait_for("epochs: ", REST_S)
        at = terminal.press(str(digit).encode())
        took.append((terminal.wait_for(f"{18 * digit} steps", REST_S) - at) * 1000)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=60)
    parser.add_argument("--plans", type=int, default=30)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from engine.models import starter
    from tests.recipe_pilot import RECIPE

    model = starter.ensure()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "models").mkdir()
        (folder / "models" / starter.NAME).symlink_to(model)
        (folder / "train.yml").write_text(RECIPE + "  epochs: 1")
        with Terminal(folder) as terminal:
            terminal.wait_for("recent runs")
            terminal.press(b"4")
            terminal.wait_for("18 steps")
            for key in (b"e", END_OF_TEXT):
                terminal.press(key)
                terminal.read(REST_S)
            planned = plans(terminal, options.plans)
            typed, used = keys(terminal, options.keys)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    for name, times, wanted in (("key to screen", typed, KEY_MS), ("key to plan", planned, PLAN_MS)):
        worst = statistics.quantiles(times, n=20)[-1]
        print(
            f"{name:<14} median {statistics.median(times):>4.0f} ms   95th percentile {worst:>4.0f} ms",
            end="",
        )
        print(f"   wanted {wanted:.0f} ms")
    print(f"CPU of the app a key, the plan after it included: {used:.0f} ms")


if __name__ == "__main__":
    main()
