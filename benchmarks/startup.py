"""Time of `ft --help` and `ft validate`, beside `hf --help` of the same environment.

    .venv/bin/python benchmarks/startup.py [--rounds 15]

Every round starts each command once, in turn, so that a slow moment of the machine hits all of them. `hf`
is told not to look for updates: only its own start is measured. The median is reported: wall time (a
person waits for it) and CPU time (steadier on a machine that is doing other things).
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
RECIPE = Path(__file__).resolve().parent.parent / "train.yml"
BASELINE = "hf --help"
COMMANDS: dict[str, list[Path | str]] = {
    BASELINE: [BIN / "hf", "--help"],
    "ft --help": [BIN / "ft", "--help"],
    "ft validate": [BIN / "ft", "validate", RECIPE],
}
TARGETS = {"ft --help": 1 / 3, "ft validate": 1 / 2}


def run(command: list[Path | str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of wall clock and of CPU that one start takes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed ft is compiled once, not in every process
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "FT_HOME": home,
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_OFFLINE": "1",
        }
        for round_ in range(rounds + 1):
            for name, command in COMMANDS.items():
                measured = run(command, environment)
                if round_:  # the first fills the disk cache
                    times[name].append(measured)
    middle = {
        name: [statistics.median(side) for side in zip(*each, strict=True)] for name, each in times.items()
    }
    print(f"{'command':<12} {'wall ms':>8} {'ratio':>6} {'CPU ms':>8} {'ratio':>6}   wanted")
    for name, (wall, cpu) in middle.items():
        base_wall, base_cpu = middle[BASELINE]
        wanted = f"at most {TARGETS[name]:.2f}" if name in TARGETS else ""
        print(
            f"{name:<12} {wall * 1000:>8.0f} {wall / base_wall:>6.2f} "
            f"{cpu * 1000:>8.0f} {cpu / base_cpu:>6.2f}   {wanted}"
        )


if __name__ == "__main__":
    main()
