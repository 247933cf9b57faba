"""Time until the app's first picture, and its resident memory, with a hundred runs in the folder.

    .venv/bin/python benchmarks/app.py [--rounds 9] [--runs 100]

Beside it: a bare Textual app with one line of text, which is what any such program costs on this machine.
Every round starts each once, in turn, on a pseudo-terminal of 120 by 36. Reported are medians: the time from
the start of the process to its first picture, the CPU time until then, and the resident memory when it has been
left alone for some seconds; for ft also after all eight screens were visited.
"""

import argparse
import os
import select
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from terminal import spawn

ROOT = Path(__file__).resolve().parent.parent
BARE = (
    "from textual.app import App\nfrom textual.widgets import Static\n"
    "class Bare(App[None]):\n"
    "    def compose(self):\n"
    "        yield Static('ready')\n"
    "Bare().run()"
)
BARE_NAME, FT_NAME = "bare Textual", "ft"
COMMANDS = {
    BARE_NAME: ([sys.executable, "-P", "-c", BARE], b"ready"),
    FT_NAME: ([sys.executable, "-P", "-m", "ft.cli"], b"recent runs"),
}
"""Commands, each with the text that only its first picture has."""
TARGET_S, TARGET_BYTES = 0.7, 120e6
REST_S = 4.0


def measure(command: list[str], mark: bytes, home: str, keys: bytes) -> tuple[float, float, int, int]:
    """Seconds and CPU seconds to the first picture, resident bytes at rest, and after the keys were pressed."""
    start = time.perf_counter()
    child, master = spawn(command, Path(home), (120, 36))
    process, seen = psutil.Process(child.pid), b""
    while mark not in seen:
        seen += os.read(master, 65536)
    wall, used = time.perf_counter() - start, process.cpu_times()
    _drain(master, REST_S)
    rest = process.memory_info().rss
    for key in keys:
        os.write(master, bytes([key]))
        _drain(master, 1.0)
    visited = process.memory_info().rss
    os.write(master, b"\x11")
    _drain(master, 1.0)
    child.terminate()
    child.wait()
    os.close(master)
    return wall, used.user + used.system, rest, visited


def _drain(master: int, seconds: float) -> None:
    """Read what the app draws, so that it is not held up."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([master], [], [], left)[0]:
            try:
                os.read(master, 65536)
            except OSError:
                return


def make_runs(home: str, number: int) -> None:
    """So many finished runs of a hundred steps."""
    os.environ["FT_HOME"] = home
    from tests.run_fixtures import make_run

    for index in range(number):
        make_run(f"20260528-12{index // 60:02}{index % 60:02}-run{index}", steps=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed ft is compiled once, not in every process
    sys.path.insert(0, str(ROOT))
    found: dict[str, list[tuple[float, float, int, int]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as home:
        make_runs(home, options.runs)
        for round_ in range(options.rounds + 1):
            for name, (command, mark) in COMMANDS.items():
                keys = b"2345678" if name == FT_NAME and round_ == 1 else b""
                measured = measure(command, mark, home, keys)
                if round_:  # the first fills the disk cache
                    found[name].append(measured)
    load = os.getloadavg()[0]
    print(f"{options.rounds} rounds, {options.runs} runs, load {load:.1f} on {os.cpu_count()} cores\n")
    print(f"{'':<14} {'first picture':>14} {'CPU until then':>15} {'memory':>9}")
    for name, values in found.items():
        wall, used, rest, _ = (statistics.median(side) for side in zip(*values, strict=True))
        print(f"{name:<14} {wall * 1000:>11.0f} ms {used * 1000:>12.0f} ms {rest / 1e6:>6.0f} MB")
    visited = max(values[3] for values in found[FT_NAME])
    print(f"\nft after all eight screens: {visited / 1e6:.0f} MB")
    print(f"wanted: a first picture within {TARGET_S} s, at most {TARGET_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
