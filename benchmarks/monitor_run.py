"""A long run's files written as an engine would have left them, and a terminal for the app to look at it.

    python benchmarks/monitor_run.py STEPS

writes so many steps more, with the memory at every tenth.
"""

import math
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from terminal import spawn

RUN = "20260528-120000-long"
T0 = 1_780_000_000.0
"""Unix seconds of the run's start; a step takes a tenth of a second."""
EVERY = 1000
"""Steps from one evaluation, and checkpoint, to the next."""


def loss(step: int) -> float:
    """A loss as of training: falling, with noise; the same for the same step."""
    noise = math.sin(step * 12.9898) * 43758.5453
    return round(1 + 2 * math.exp(-step / 40_000) + 0.2 * (noise - math.floor(noise) - 0.5), 6)


def step_lines(step: int, total: int = 2_000_000, memory_every: int = 1) -> Iterator[bytes]:
    """Lines that an engine writes at a step, as `engine.runs.directory.events.encode` would."""
    t = T0 + step / 10
    value = loss(step)
    yield (
        f'{{"v": 1, "type": "step", "t": {t}, "step": {step}, "total": {total}, "epoch": {step / 50_000}, '
        f'"loss": {value}, "lr": {2e-4 * (1 - step / total)}, "grad_norm": {value / 3 + 0.2}, "tokens": 512, '
        f'"trained_tokens": 256, "tokens_per_s": {5000 + 100 * value}, "step_s": 0.1}}\n'
    ).encode()
    if step % memory_every == 0:
        used = 13_000_000_000 + step % 40 * 10_000_000
        yield (
            f'{{"v": 1, "type": "memory", "t": {t}, "process_bytes": 2000000000, "device_bytes": {used}}}\n'
        ).encode()
    if step % EVERY == 0:
        best = "true" if value < 1.2 else "false"
        yield (
            f'{{"v": 1, "type": "eval", "t": {t}, "step": {step}, "loss": {value}, "perplexity": 3.0, '
            f'"best": {best}}}\n'
            f'{{"v": 1, "type": "saved", "t": {t}, "step": {step}, "path": "checkpoints/step-{step}", '
            f'"kind": "checkpoint"}}\n'
        ).encode()


def write_run(home: Path, steps: int) -> Path:
    """A run of so many steps that has not ended, with its plan; returns its file of events."""
    os.environ["FT_HOME"] = str(home)
    from tests.run_fixtures import make_run
    from tests.test_monitor_screen_snapshots import plan

    run = make_run(RUN, steps=0, end=None)
    (run.folder / "plan.json").write_text(plan().to_json())
    append(run.events_file, range(1, steps + 1))
    return run.events_file


def append(file: Path, steps: range, memory_every: int = 1) -> None:
    """Write what these steps write, many at a time."""
    with file.open("ab") as out:
        for step in steps:
            out.writelines(step_lines(step, memory_every=memory_every))


class Terminal:
    """A program on a pseudo-terminal of (columns, rows), and what it has drawn."""

    def __init__(self, command: list[Any], home: Path, size: tuple[int, int]) -> None:
        self.process, self._master = spawn(command, home, size)
        self.seen = b""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait()
        os.close(self._master)

    def read(self, seconds: float) -> bytes:
        """Output drawn next; empty if there is none within so many seconds, or the program has ended."""
        if not select.select([self._master], [], [], seconds)[0]:
            return b""
        try:
            found = os.read(self._master, 1 << 16)
        except OSError:
            return b""
        self.seen = self.seen[-(1 << 16) :] + found
        return found

    def cpu(self) -> float:
        """Seconds of processor time that the program has used."""
        used = psutil.Process(self.process.pid).cpu_times()
        return float(used.user + used.system)


if __name__ == "__main__":
    append(
        Path(os.environ["FT_HOME"]) / "runs" / RUN / "events.jsonl",
        range(1, int(sys.argv[1]) + 1),
        memory_every=10,
    )
