"""Environments in which OpenMP grants fewer threads than torch requests, as clusters set them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.load import load_text
from engine.hardware.openmp import settled
from engine.hardware.probe import cpu_has_bf16, usable_cores
from engine.runs.directory import events as ev
from engine.runs.directory.create import create_run
from engine.runs.directory.run import Run
from tests.terminal import PATIENCE_S, ft, write_recipe

FEWER = {"OMP_NUM_THREADS": "2", "OMP_THREAD_LIMIT": "1"}
"""Two threads are requested, one is granted; OMP_DYNAMIC does the same, but only while the machine is busy."""
NOT_NESTED = {"OMP_NUM_THREADS": "2", "OMP_MAX_ACTIVE_LEVELS": "0"}
linux = pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU OpenMP on Linux alone")
bf16 = pytest.mark.skipif(not cpu_has_bf16(), reason="without bf16 instructions the products are right")


@linux
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "limits"), [("lora", [FEWER, NOT_NESTED]), ("none", [FEWER])])
def test_limited_threads_train_and_answer_the_same(
    tmp_path: Path, tiny_model: Path, kind: str, limits: list[dict[str, str]]
) -> None:
    """`OMP_THREAD_LIMIT` gives the results of that number of threads."""
    one = _trained(tmp_path / "one", tiny_model, kind, {"OMP_NUM_THREADS": "1"})
    for number, fewer in enumerate(limits):
        assert _trained(tmp_path / str(number), tiny_model, kind, {**fewer, "OMP_DYNAMIC": "true"}) == one


def _trained(folder: Path, model: Path, kind: str, environment: dict[str, str]) -> tuple[object, ...]:
    """Losses, answer and weights of a run under an environment."""
    home = {"FT_HOME": str(folder / "home"), **environment}
    training = {"precision": "bf16", "learning_rate": 1e-2}
    recipe = write_recipe(folder, model, steps=3, adapter={"type": kind}, training=training)
    done = ft("train", recipe, "--run-dir", folder / "run", **home)
    assert done.returncode == 0, done.stderr
    losses = [event.loss for event in Run.open(folder / "run").events() if isinstance(event, ev.Step)]
    answered = ft("generate", folder / "run", "--prompt", "number 3", "--max-tokens", "8", **home)
    assert answered.returncode == 0, answered.stderr
    result = folder / "run" / ("model" if kind == "none" else "adapter")
    return losses, answered.stdout, [file.read_bytes() for file in sorted(result.glob("*.safetensors"))]


@linux
@bf16
@pytest.mark.slow
@pytest.mark.parametrize("cause", ["OMP_THREAD_LIMIT", "OMP_DYNAMIC"])
def test_engine_with_wrong_products_exits_7(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """Started past the supervisor, which would have settled the environment."""
    monkeypatch.setenv("FT_HOME", str(tmp_path / "home"))
    recipe = write_recipe(tmp_path, tiny_model, training={"precision": "bf16"})
    folder = str(create_run(load_text(recipe.read_text(), recipe)).folder)
    done = _python(
        "-m",
        "engine.process.worker",
        folder,
        OMP_NUM_THREADS="2",
        **{cause: "1" if "LIMIT" in cause else "true"},
    )
    assert done.returncode == 7, done.stderr
    failed = list(Run.open(Path(folder)).events())[-1]
    assert isinstance(failed, ev.Failed)
    assert failed.kind == "machine"
    assert "bfloat16" in failed.message
    assert "OMP_NUM_THREADS" in failed.hint


@linux
@bf16
@pytest.mark.slow
def test_library_backend_reports_wrong_products(tmp_path: Path, tiny_model: Path) -> None:
    """A Python program that uses a backend is told too."""
    program = (
        "import sys; from pathlib import Path; from engine.errors import MachineError; from tests.training import Job\n"
        "job = Job.make(Path(sys.argv[1]), Path(sys.argv[2]), training={'precision': 'bf16'})\n"
        "try: job.backend()\n"
        "except MachineError as error: print(error.message)"
    )
    done = _python("-c", program, str(tiny_model), str(tmp_path), FT_HOME=str(tmp_path / "home"), **FEWER)
    assert "wrong bfloat16 products" in done.stdout, done.stderr


def _python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    given = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=given)


def test_thread_limits_become_openmp_thread_number() -> None:
    assert settled({"OMP_NUM_THREADS": "8,2", "OMP_THREAD_LIMIT": " 3 "}) == {"OMP_NUM_THREADS": "3"}
    assert settled({"OMP_NUM_THREADS": "2", "OMP_THREAD_LIMIT": "64"}) == {"OMP_NUM_THREADS": "2"}
    assert settled({"OMP_THREAD_LIMIT": "1"}) == {"OMP_NUM_THREADS": "1"}
    assert settled({"OMP_THREAD_LIMIT": "100000"}) == {"OMP_NUM_THREADS": str(usable_cores())}
    assert settled({"OMP_MAX_ACTIVE_LEVELS": "0"}) == {"OMP_NUM_THREADS": "1"}


def test_harmless_openmp_settings_stay() -> None:
    assert settled({"OMP_DYNAMIC": "true", "OMP_NUM_THREADS": "4"}) == {"OMP_NUM_THREADS": "4"}
    assert settled({"OMP_DYNAMIC": "true"}) == {}
    assert settled({"OMP_THREAD_LIMIT": "many"}) == {}, "OpenMP ignores it too"
    same = {"OMP_NUM_THREADS": "4,2", "OMP_MAX_ACTIVE_LEVELS": "2", "HOME": "/home/me"}
    assert settled(same) == same
