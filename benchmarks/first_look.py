"""Time until the first output about a large file of chats, and peak memory of the commands.

    python benchmarks/first_look.py [--rows 1000000] [--whole]

The rows are those of `benchmarks/prepare.py`. Each command is a process of its own with its output on a pipe; *first*
is when it has written the first line that says something of a row, memory is the peak resident set of the process and
its children. `ft data check` is stopped by ctrl-c after its first finding; with `--whole` it goes on to its end, and
`check` again and `stats` come after it: that tokenises the file twice.
"""

import argparse
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.prepare import make  # noqa: E402
from benchmarks.tokenise import DEMO  # noqa: E402
from engine.models.resolve import resolve  # noqa: E402

FT = [sys.executable, "-P", "-c", "import sys; from ft.cli import main; sys.exit(main())"]
LOOK_S = 0.05


@dataclass
class Took:
    """Seconds to the first output and to the end, the peak memory in bytes, and the exit code."""

    first: float = 0.0
    end: float = 0.0
    peak: int = 0
    code: int = 0


def main() -> None:
    """Make the file, run the commands, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--from", type=Path, default=DEMO, dest="source", help="alpaca rows as a JSON array")
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    if not options.source.is_file():
        sys.exit(f"{options.source} is not here; name a file of alpaca rows with --from.")
    with tempfile.TemporaryDirectory() as folder:
        home, file = Path(folder) / "home", Path(folder) / "rows.jsonl"
        home.mkdir()
        (home / "models").symlink_to(resolve("starter").folder.parent)  # as on a machine that has it
        make(file, options.source, options.rows)
        load = os.getloadavg()[0]
        print(f"{options.rows:,} rows, {file.stat().st_size / 1e6:,.0f} MB, load {load:.1f}\n")
        print("| command | first output | end | peak memory | exit code |\n|---|---|---|---|---|")
        far = str(options.rows * 9 // 10)
        row("preview FILE", run(home, "preview", file))
        row(f"preview FILE --row {far}", run(home, "preview", file, "--row", far))
        row("sample FILE", run(home, "sample", file))
        row("check FILE, ctrl-c at once", run(home, "check", file, stop=True))
        if options.whole:
            for what in ("check", "check", "stats"):
                row(f"{what} FILE", run(home, what, file))


def run(home: Path, *arguments: str | Path, stop: bool = False) -> Took:
    """One `ft data` command; `stop` presses ctrl-c when it has said something."""
    took, started = Took(), time.perf_counter()
    environment = os.environ | {"FT_HOME": str(home)}
    with subprocess.Popen(
        [*FT, "data", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        said = selectors.DefaultSelector()
        for pipe in (process.stdout, process.stderr):
            said.register(pipe, selectors.EVENT_READ)  # type: ignore[arg-type]
        while said.get_map():
            for key, _ in said.select(LOOK_S):
                if not os.read(key.fd, 65536):
                    said.unregister(key.fileobj)
                elif not took.first:
                    took.first = time.perf_counter() - started
                    if stop:
                        process.send_signal(signal.SIGINT)
            took.peak = max(took.peak, memory(process.pid))
    took.end, took.code = time.perf_counter() - started, process.returncode
    return took


def memory(process: int) -> int:
    """Bytes that a process and its children hold now."""
    try:
        parent = psutil.Process(process)
        return sum(each.memory_info().rss for each in [parent, *parent.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def row(name: str, took: Took) -> None:
    """A line of the table."""
    print(
        f"| `ft data {name}` | {took.first:.2f} s | {took.end:.2f} s | {took.peak / 1e6:,.0f} MB | {took.code} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
