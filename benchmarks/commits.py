"""Speed and memory of the working tree against another commit: the same benchmarks, in turn, in pairs.

    python benchmarks/commits.py --base COMMIT [--pairs 7] [--only train mlx memory app prepare]

Both run in this environment, the base in a worktree of its own and by the scripts that it has there, each once
beforehand, which is not counted. Which of the two goes first alternates from pair to pair. Printed are the median of
the pairs' ratios (working tree / base) and its 95 % interval, from the order statistics of the pairs, which assumes
nothing of their distribution: with seven pairs it spans from the least to the greatest.
"""

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT.parent / "shared" / "data" / "alpaca_en_demo.json"
NUMBER = re.compile(r"[\d,]*\.?\d+")


@dataclass(frozen=True)
class Measure:
    """A benchmark, the line of its output that counts, and the numbers in it, by their place from 0."""

    words: Sequence[str]
    line: str
    numbers: Mapping[str, int]


MEASURES = {
    "train": Measure(
        ["train.py", "--sides", "ft", "--steps", "6", "--device", "cpu", "--rows", str(ROWS)],
        "| ft, on", {"tokens/s": 0, "memory": 2},
    ),
    "mlx": Measure(
        ["mlx.py", "--sides", "ft", "--steps", "8", "--rows", str(ROWS)], "| ft |", {"tokens/s": 0, "memory": 3}
    ),
    "memory": Measure(["memory.py", "--only", "starter 135M, 4×256"], "starter", {"measured peak": 4}),
    "app": Measure(["app.py", "--rounds", "1"], "ft  ", {"first picture": 0, "CPU until then": 1, "memory": 2}),
    "prepare": Measure(
        ["prepare.py", "--rows", "40000", "--sides", "ft-check", "--from", str(ROWS)], "| ft-check",
        {"seconds": 0, "processor seconds": 2, "memory": 4},
    ),
}  # fmt: skip


def main() -> None:
    """Measure in pairs, print a row for each number."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", required=True, metavar="COMMIT")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        subprocess.run(["git", "worktree", "add", "--detach", base, options.base], cwd=ROOT, check=True)
        try:
            print("| benchmark | number | median ratio | 95 % interval | pairs |\n|---|---|---|---|---|")
            for name in options.only:
                compare(name, MEASURES[name], base, options.pairs)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", base], cwd=ROOT, check=True)


def compare(name: str, measure: Measure, base: Path, pairs: int) -> None:
    """Print the ratios of one benchmark."""
    ratios: dict[str, list[float]] = {number: [] for number in measure.numbers}
    for checkout in (base, ROOT):
        measured(measure, checkout)  # compiles what is imported, and fills caches
    for pair in range(pairs):
        order = [base, ROOT] if pair % 2 else [ROOT, base]
        found = {checkout: measured(measure, checkout) for checkout in order}
        for number, values in ratios.items():
            values.append(found[ROOT][number] / found[base][number])
    for number, values in ratios.items():
        low, high = interval(values)
        print(
            f"| {name} | {number} | {statistics.median(values):.3f} | {low:.3f} to {high:.3f} | {pairs} |",
            flush=True,
        )


def measured(measure: Measure, checkout: Path) -> dict[str, float]:
    """The numbers of one run."""
    script, *words = measure.words
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a checkout that is new would be compiled in every run
    done = subprocess.run(
        [sys.executable, str(checkout / "benchmarks" / script), *words],
        cwd=checkout, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if (found := numbers(measure, done.stdout)) is None:
        sys.exit(f"{checkout}: {script} printed no line that begins with {measure.line!r}\n{done.stderr}")
    return found


def numbers(measure: Measure, printed: str) -> dict[str, float] | None:
    """The numbers that count in what a benchmark has printed; None where its line is missing."""
    line = next((line for line in printed.splitlines() if line.startswith(measure.line)), None)
    if line is None:
        return None
    values = [float(text.replace(",", "")) for text in NUMBER.findall(line.removeprefix(measure.line))]
    return {number: values[place] for number, place in measure.numbers.items()}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % confidence interval of the median, by the sign test: the k-th least and the k-th greatest value.

    Conover, Practical Nonparametric Statistics, 3.2: the largest k whose binomial tails together stay within 5 %.
    """
    count, ordered = len(values), sorted(values)
    place, tail = 0, 0.0
    while place < count // 2:
        tail += 2 * math.comb(count, place) / 2**count
        if tail > 0.05:
            break
        place += 1
    place = max(place, 1)
    return ordered[place - 1], ordered[-place]


if __name__ == "__main__":
    main()
