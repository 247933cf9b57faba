"""Time of listing all runs, beside reading every event of every run as `ft runs list` once did.

    .venv/bin/python benchmarks/runs.py [--runs 1000] [--steps 300] [--long 1000000]

The runs are written by hand into a folder of their own: a recipe, and events of so many steps with an
evaluation each fiftieth. *Cold* has no cache at all; *started* is a new process's first look with a cache;
*again* is what the app does each second; *one grows* is that while one run appends a step each time;
*two compared* is what `c` in the app requests, which must not depend on how long the runs are.
Below are whole commands, each a process of its own, in the same folder and in one with a single run of `--long` steps.
The median of the rounds is reported, with the processor's time beside it: other work on the machine hits
wall time first.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engine import paths
from engine.config.load import load_text
from engine.runs.directory.events import Eval, Event, Finished, Memory, Started, Step, encode
from engine.runs.directory.run import Run
from engine.runs.index.compare import compare
from engine.runs.index.index import FILE, Index

RECIPE = "name: bench\nmodel: {base: starter}\ndata: {train: starter}\ntraining: {learning_rate: 1e-3}\n"


def events(steps: int) -> bytes:
    """The file of a run that completed."""
    found: list[Event] = [Started(run="bench", pid=1)]
    for number in range(1, steps + 1):
        found.append(step(number, steps))
        found.append(Memory(process_bytes=10**9, process_peak_bytes=10**9))
        if number % 50 == 0:
            found.append(Eval(step=number, loss=2.0 - number / steps, perplexity=3.0, best=True))
    found.append(Finished(reason="completed", step=steps))
    return b"".join(map(encode, found))


def step(number: int, steps: int) -> Step:
    return Step(
        step=number,
        total=steps,
        epoch=number / steps,
        loss=3.0 - 2.0 * number / steps,
        lr=1e-3,
        grad_norm=1.0,
        tokens=4096,
        trained_tokens=2048,
        tokens_per_s=1000.0,
        step_s=4.1,
    )


def write_runs(count: int, steps: int) -> int:
    """Write the runs; returns the bytes of all events."""
    recipe, body = load_text(RECIPE, Path("/recipes/train.yml")).resolved(), events(steps)
    for number in range(count):
        folder = paths.runs() / f"20260101-{number:06}-bench"
        folder.mkdir(parents=True)
        (folder / "train.yml").write_text(recipe)
        (folder / "events.jsonl").write_bytes(body)
        (folder / "lock").touch()
    return count * len(body)


def measured(what: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of wall clock, and of processor here and in the processes that were started."""
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), sum(os.times()[:4])
        what()
        walls.append(time.perf_counter() - wall)
        cpus.append(sum(os.times()[:4]) - cpu)
    return statistics.median(walls), statistics.median(cpus)


def cold() -> None:
    (paths.cache() / FILE).unlink(missing_ok=True)
    Index().refresh()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--long", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["FT_HOME"] = home
        size = write_runs(given.runs, given.steps)
        print(f"{given.runs} runs of {given.steps} steps, {size / 1e6:.0f} MB of events\n")
        print(f"{'':<30} {'wall ms':>9} {'CPU ms':>9}")
        index = Index()

        def grow() -> None:
            growing.emit(step(next(numbers), 10**6))
            index.refresh()

        report("every event read", lambda: [run.state() for run in Run.all()], 1)
        report("index, cold", cold, 1)
        report("index, started", lambda: Index().refresh(), 5)
        index.refresh()
        time.sleep(2.1)  # the runs folder's own listing is only trusted when it is older than this
        report("index, again", index.refresh, 50)
        left, right = index.refresh()[:2]
        report("two compared", lambda: compare(left, right), 20)
        growing, numbers = next(iter(Run.all())), iter(range(10_000, 10**6))
        report("index, one grows", grow, 50)
        print(f"\ncache: {(paths.cache() / FILE).stat().st_size / 1e6:.1f} MB\n")
        commands(["runs", "list"], ["runs", "show"])
    with tempfile.TemporaryDirectory() as home:
        os.environ["FT_HOME"] = home
        size = write_runs(1, given.long)
        print(f"\none run of {given.long} steps, {size / 1e6:.0f} MB of events\n")
        commands(["runs", "list"], ["runs", "show"], ["runs", "show", "--json"])


def commands(*wanted: list[str]) -> None:
    """Time whole commands, without a cache and with one."""
    for command in wanted:
        (paths.cache() / FILE).unlink(missing_ok=True)
        for name, rounds in (("cold", 1), ("warm", 3)):
            report(f"ft {' '.join(command)}, {name}", lambda: run_ft(command), rounds)  # noqa: B023 - called here


def run_ft(command: list[str]) -> None:
    code = "import sys; from ft.cli import main; sys.exit(main(sys.argv[1:]))"
    subprocess.run([sys.executable, "-P", "-c", code, *command], stdout=subprocess.DEVNULL, check=True)


def report(name: str, what: Callable[[], object], rounds: int) -> None:
    wall, cpu = measured(what, rounds)
    print(f"{name:<30} {wall * 1000:>9.1f} {cpu * 1000:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
