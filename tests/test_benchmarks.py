"""Every benchmark runs as its first lines say and prints its table, so that a renaming cannot break one unnoticed.

Each is given as little as it takes, and nothing is said of its times.
"""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.commits import MEASURES, numbers
from tests.test_evaluate_command import train

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
ROWS = "ROWS"
"""Stands in a command line for a file of alpaca rows."""
PATIENCE_S = 300


@dataclass(frozen=True)
class Case:
    """A benchmark, its command line, and what a line of its output begins with (a regular expression)."""

    script: str
    words: tuple[str, ...]
    line: str
    needs: str = "numpy"
    """The package that it takes besides what ft always has."""


CASES = [
    Case("app.py", ("--rounds", "1", "--runs", "3"), r"ft after all eight screens: \d+ MB"),
    # The others are installed from the internet; this is the output that each is run for.
    Case("chart.py", ("--only", "ft", "--points", "1000"), r'\{"frame": \d'),
    Case("commits.py", ("--help",), r"usage: "),
    Case(
        "evaluate.py",
        (ROWS, "--rows", "2", "--tokens", "4", "--slots", "2"),
        r"ft, slots refilled +\d",
    ),
    Case("first_look.py", ("--rows", "200", "--from", ROWS), r"\| `ft data check FILE, ctrl-c at once` \|"),
    Case("merge.py", ("--models", "tiny", "--repeats", "1"), r"\| tiny \| ft \| \d"),
    # The converter is installed from the internet.
    Case(
        "gguf_export.py",
        ("--models", "tiny", "--sides", "ft", "--rounds", "1", "--quantizations", "f16", "q4_k_m", "--cores", "1"),
        r"\| tiny \| q4_k_m \| ft, 1 cores \| \d",
        "libgguf",
    ),
    Case("mlx.py", ("--steps", "2", "--sides", "ft", "--rows", ROWS), r"\| ft \| \d+ \|", "mlx_lm"),
    Case(
        "monitor.py",
        ("--points", "1000", "--frames", "3", "--seconds", "1", "--events", "2000"),
        r"steps \d+ to \d+, zoomed in on: each as in the file",
    ),
    Case(
        "preference.py",
        ("--pairs", "2", "--words", "4", "--epochs", "1", "--sides", "ft", "--rows", ROWS),
        r"\| ft \| \d",
    ),
    Case(
        "prepare.py",
        ("--rows", "50", "--sides", "ft", "ft-again", "ft-check", "--from", ROWS),
        r"\| ft-check \| \d+\.\d \|.*\| 50 \|",
    ),
    Case(
        "models.py",
        ("--models", "2", "--files", "2", "--megabytes", "1", "--rounds", "1"),
        r"hf download +\d",
    ),
    Case("products.py", ("--rows", "1", "--rounds", "1"), r"float32 +1 +\d"),
    Case("readers.py", ("--rows", "50", "--tries", "1"), r"with tools +\d"),
    Case("recipe.py", ("--keys", "3", "--plans", "2"), r"key to plan +median +\d+ ms"),
    Case("rows.py", ("--rows", "200"), r"  opened again +\d"),
    Case("runs.py", ("--runs", "3", "--steps", "20", "--long", "100"), r"ft runs show --json, warm +\d"),
    # The other server is installed from the internet.
    Case(
        "serve.py",
        ("--rows", ROWS, "--requests", "2", "--concurrency", "2", "--tokens", "4"),
        r"ft serve +\d",
    ),
    Case(
        "shared_machine.py",
        ("--busy", "0", "--rounds", "1", "--steps", "2", "--sides", "ft-answers", "--rows", ROWS),
        r"\| 0 \| ft-answers \| \d+ \|",
    ),
    Case("startup.py", ("--rounds", "1"), r"ft validate +\d"),
    Case("step_cost.py", (), r"\| starter 135M, bf16 \| \d"),
    Case(
        "step_profile.py",
        ("--backends", "mlx", "--mlx-model", "tiny", "--steps", "1", "--rows", "2"),
        r"\| products with frozen weights \| \d",
        "mlx_lm",
    ),
    Case("tokenise.py", (ROWS, "--rows", "20"), r"chat template, masked +\d"),
    Case("train.py", ("--steps", "2", "--sides", "ft", "--device", "cpu", "--rows", ROWS), r"\| ft, on \w+ \| \d"),
]  # fmt: skip
ELSEWHERE = {
    "gguf_model.py": "run by gguf_export.py",
    "memory.py": "test_plan_memory.py runs it, and looks at its numbers",
    "monitor_app.py": "run by monitor.py",
    "monitor_run.py": "run by monitor.py",
    "parity.py": "run below, on a run of its own",
    "parity_rotated.py": "run by parity.py",
    "profile_mlx.py": "run by step_profile.py",
    "profile_parts.py": "imported by step_profile.py",
    "profile_torch.py": "test_step_profile.py runs it by step_profile.py, with a torch backend",
    "terminal.py": "imported by app.py",
    "unsloth.py": "imported below: to run, it takes an environment of its own",
}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of alpaca rows, as the demo's that a clone does not have."""
    file = tmp_path / "alpaca.json"
    few = [
        {"instruction": f"Say the number {n}.", "input": "In words." * (n % 2), "output": f"It is {n}."}
        for n in range(16)
    ]
    file.write_text(json.dumps(few))
    return file


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.script)
def test_benchmark_prints_its_table(case: Case, rows: Path, ft_home_with_starter: Path) -> None:
    if importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"{case.needs} is not installed")
    words = [str(rows) if word == ROWS else word for word in case.words]
    done = subprocess.run(
        [sys.executable, FOLDER / case.script, *words],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(f"^{case.line}", done.stdout, re.MULTILINE), done.stdout
    for measure in MEASURES.values():  # which reads the same output when two commits are compared
        if measure.words[0] == case.script:
            assert numbers(measure, done.stdout) is not None, done.stdout


@pytest.mark.slow
def test_benchmark_against_unsloth_imports_what_there_is() -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-P", "-c", code, FOLDER / "unsloth.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_parity_benchmark_prints_its_table(tiny_model: Path, folder: Path) -> None:
    run = train(tiny_model, folder)
    words = [run.id, "--types", "gguf/f32", "merged/fp32", "--places", "16", "--weights", "--rotated"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.parity", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for start in (r"gguf +f32 +its weights", r"merged +fp32 +transformers"):
        assert re.search(rf"^{start} .* proved$", done.stdout, re.MULTILINE), done.stdout


def test_every_benchmark_is_run_by_a_test() -> None:
    scripts = {file.name for file in FOLDER.glob("*.py")}
    assert scripts == {case.script for case in CASES} | set(ELSEWHERE)
