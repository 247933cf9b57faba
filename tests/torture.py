"""Stress test of runs and commands: kills at any moment, full disks, floods of events and runs. For people to run.

    make torture                                     # about ten minutes
    python -m tests.torture --minutes 10 --seed 7    # what it does, with another seed

Prints a line of figures for each part, and ends with exit code 1 where anything was lost, wrong, or left behind. The
model is the tests' tiny one. Full disks are small ones in memory, mounted in a namespace of their own (on Linux; where
that cannot be, this part is left out and says so).
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from safetensors import safe_open

from engine.config.load import load_text
from engine.process import launcher
from engine.runs.directory import checkpoints
from engine.runs.directory.create import create_run
from engine.runs.directory.events import Memory, Started, Step, encode
from engine.runs.directory.run import Run
from engine.runs.index.index import Index
from engine.training.progress import Progress
from tests.tiny import make_tiny_model
from tests.training import recipe_text, write_rows

FT = [sys.executable, "-P", "-c", "import sys; from ft.cli import main; sys.exit(main())"]
KILLS, FILLS, FLOODS = 0.6, 0.15, 0.25
"""Shares of the time."""
DISKS_KB = (200, 500, 900, 1500)
EVENTS = 1_000_000
RUNS = 2_000


@dataclass
class Report:
    """Figures as they come, and what went wrong."""

    wrong: list[str] = field(default_factory=list)

    def tell(self, what: str, figure: object) -> None:
        print(f"{what:<58} {figure}", flush=True)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)
            print(f"WRONG: {what}", flush=True)


@dataclass
class Kills:
    """Engines, supervisors and both are killed at random moments; the run has to end with the same bytes."""

    report: Report
    recipe: Path
    luck: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    same: int = 0
    runs: int = 0

    def until(self, end: float) -> None:
        """Kill and resume runs until the time is over; the last run is still brought to its end."""
        whole = self.finished(self.new())
        while time.monotonic() < end:
            run = self.new()
            self.runs += 1
            while run.state().status != "completed":
                self.kill_once(run) if time.monotonic() < end else self.finished(run)
            same = digest(run) == digest(whole)
            self.same += same
            self.report.check(same, f"{run.id} ended with other bytes than the run that nobody killed")
            leftovers = [path.name for path in run.folder.rglob(".tmp-*")]
            self.report.check(not leftovers, f"{run.id} left {leftovers}")
        told = ", ".join(f"{count} {who}" for who, count in self.counts.items())
        self.report.tell("kills", f"{sum(self.counts.values())} ({told}) over {self.runs} runs")
        self.report.tell(
            "runs ended with the same adapter as the one left alone", f"{self.same} of {self.runs}"
        )

    def new(self) -> Run:
        return create_run(load_text(self.recipe.read_text(), self.recipe))

    def finished(self, run: Run) -> Run:
        launcher.start(run, checkpoints.latest(run.folder)).supervisor.wait()
        return run

    def kill_once(self, run: Run) -> None:
        """Start a run, or go on with it, and kill something of it within ten seconds."""
        supervisor = launcher.start(run, checkpoints.latest(run.folder)).supervisor
        time.sleep(self.luck.uniform(0.05, 10))
        who = self.luck.choice(["engine", "supervisor", "both"])
        if supervisor.poll() is None:
            self.counts[who] += 1
            engines = psutil.Process(supervisor.pid).children(recursive=True)
            if who in ("supervisor", "both"):
                supervisor.kill()
            for engine in engines if who in ("engine", "both") else []:
                engine.kill()
        supervisor.wait()
        wait_for_end(run)
        self.check(run)

    def check(self, run: Run) -> None:
        """Check the disk after a kill: whole checkpoints, and no lock."""
        for checkpoint in checkpoints.whole(run.checkpoints):
            step = Progress.load(checkpoint / checkpoints.PROGRESS).step
            self.report.check(step == checkpoints.step_of(checkpoint), f"{checkpoint} is of step {step}")
            for file in checkpoint.rglob("*.safetensors"):
                with safe_open(file, "np") as tensors:
                    self.report.check(bool(list(tensors.keys())), f"{file} is empty")
        listed = {one.id: one.state.status for one in Index().refresh()}
        self.report.check(listed[run.id] == run.state().status, f"{run.id} is listed as {listed[run.id]}")
        self.report.check(not run.alive(), f"{run.id} has a lock that nobody holds")


def wait_for_end(run: Run) -> None:
    """Wait for an engine whose supervisor was killed: it ends by itself, or is stopped after a minute."""
    end = time.monotonic() + 60
    while run.alive() and time.monotonic() < end:
        time.sleep(0.1)
    if run.alive():
        started = [event for event in run.events() if isinstance(event, Started)]
        os.kill(started[-1].pid, signal.SIGKILL)
        while run.alive():
            time.sleep(0.05)


def digest(run: Run) -> str:
    """The hash of the adapter that a run has published."""
    return hashlib.sha256((run.adapter / "adapter_model.safetensors").read_bytes()).hexdigest()


def fill(report: Report, recipe: Path, folder: Path, end: float) -> None:
    """Run commands on disks that become full."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        report.tell("full disks", "left out: no small disk can be mounted here")
        return
    ended: Counter[str] = Counter()
    rows = folder / "rows.jsonl"
    commands = {
        "train": ["train", str(recipe), "--plain"],
        "plan": ["plan", str(recipe)],
        "data check": ["data", "check", str(rows), "--recipe", str(recipe)],
        "data prepare": ["data", "prepare", str(rows), "--out", "DISK/out"],
        "init": ["init", "DISK/new.yml"],
        "runs list": ["runs", "list"],
    }
    for size in (0, *DISKS_KB):
        for name, argv in commands.items():
            if time.monotonic() > end:
                break
            code, said, left = on_a_small_disk(unshare, folder, size, argv)
            ended[f"exit {code}"] += 1
            report.check(code in (0, 5, 7), f"{name} on {size} kB: exit {code}: {said[-300:]}")
            report.check("Traceback" not in said, f"{name} on {size} kB: a traceback")
            if code == 7:
                report.check(
                    "disk" in said and "/" in said, f"{name} on {size} kB names no file: {said[-300:]}"
                )
                report.check(not left, f"{name} on {size} kB left {left}")
    report.tell(
        "commands on disks of 0 to 1.5 MB", ", ".join(f"{n} {code}" for code, n in sorted(ended.items()))
    )


def on_a_small_disk(
    unshare: list[str], folder: Path, size: int, argv: list[str]
) -> tuple[int, str, list[str]]:
    """A command whose FT_HOME is on a disk of so many kB, 0 being one that is full already.

    Its exit code, what it said, and files of its own that it left half made.
    """
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    inside = json.dumps([*FT, *(part.replace("DISK", str(disk)) for part in argv)])
    script = (
        f"mount -t tmpfs -o size={max(size, 16)}k none {disk} && "
        + (f"dd if=/dev/zero of={disk}/ballast bs=1k 2>/dev/null; " if not size else "")
        + f"{sys.executable} -c 'import json, subprocess, sys; sys.exit(subprocess.call(json.loads(sys.argv[1])))' "
        + '"$FT_COMMAND"; code=$?; echo LEFT; '
        + f"find {disk} -name '*.making*' -o -name '.tmp-*' -o -name new.yml -size 0 -o -path '*/out/*'; exit $code"
    )
    environment = os.environ | {"FT_HOME": f"{disk}/home", "FT_COMMAND": inside}
    done = subprocess.run(
        [*unshare, "sh", "-c", script], capture_output=True, text=True, env=environment, timeout=300
    )
    out, _, left = done.stdout.partition("LEFT\n")
    return done.returncode, out + done.stderr, left.split()


def flood(report: Report, recipe: Path, home: Path) -> None:
    """Many events, many runs, much junk in control/."""
    long = create_run(load_text(recipe.read_text(), recipe))
    with long.events_file.open("wb") as file:
        file.write(encode(Started(run=long.id, pid=1)))
        for number in range(1, EVENTS):
            file.write(encode(step(number)) if number % 10 else encode(Memory(process_bytes=number)))
    size = long.events_file.stat().st_size / 1e6
    for argv in (["runs", "list"], ["runs", "show", long.id]):
        cold, warm = timed(argv), timed(argv)
        report.tell(
            f"ft {argv[0]} {argv[1]} of {EVENTS:,} events ({size:.0f} MB)", f"{cold:.1f} s, then {warm:.1f} s"
        )
    long.remove()
    first = create_run(load_text(recipe.read_text(), recipe))
    first.emit(Started(run=first.id, pid=1))
    for number in range(1, RUNS):
        shutil.copytree(first.folder, first.folder.with_name(f"{first.id}-{number}"))
    cold, warm = timed(["runs", "list"]), timed(["runs", "list"])
    report.tell(f"ft runs list of {RUNS:,} runs", f"{cold:.1f} s, then {warm:.1f} s")
    shutil.rmtree(home / "runs")
    junk = create_run(load_text(recipe.read_text(), recipe))
    engine = launcher.start(junk)
    for number in range(2_000):
        (junk.control / f"{number}.junk").write_bytes(bytes(range(256)))
    report.check(engine.supervisor.wait() == 0, "a run with 2,000 files of junk in control/ did not complete")
    report.tell("a run with 2,000 files of junk in control/", junk.state().status)


def step(number: int) -> Step:
    return Step(
        **{"step": number, "total": EVENTS, "epoch": 1.0, "loss": 1 / number, "lr": 1e-4, "grad_norm": 1.0},
        **{"tokens": 9, "trained_tokens": 5, "tokens_per_s": 100.0, "step_s": 0.1},
    )


def timed(argv: list[str]) -> float:
    began = time.monotonic()
    subprocess.run([*FT, *argv], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


@contextmanager
def place() -> Iterator[Path]:
    """A folder for all of it, which is FT_HOME meanwhile."""
    with tempfile.TemporaryDirectory(prefix="ft-torture-") as name:
        os.environ |= {"FT_HOME": f"{name}/home", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        yield Path(name)


def main() -> int:
    """Run all parts; returns 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    report, luck = Report(), random.Random(arguments.seed)
    began, seconds = time.monotonic(), 60 * arguments.minutes
    with place() as folder:
        model, rows = make_tiny_model(folder / "model"), write_rows(folder)
        recipe = folder / "train.yml"
        recipe.write_text(
            recipe_text(model, rows, checkpoints={"every": 2, "keep": 3}, training={"epochs": 12})
        )
        report.tell("seed", arguments.seed)
        fill(report, recipe, folder, began + seconds * FILLS)
        flood(report, recipe, folder / "home")
        Kills(report, recipe, luck).until(began + seconds)
    report.tell("wrong", len(report.wrong) or "nothing")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
