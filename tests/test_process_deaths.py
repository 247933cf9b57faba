"""Causes of an engine's end: what counts as running out of memory, and what does not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.load import load_text
from engine.errors import MachineError, ModelError, TrainingError
from engine.hardware import allocator
from engine.hardware.memory import is_exhaustion
from engine.process.launcher import outcome
from engine.process.postmortem import MEMORY_EXIT, Evidence, diagnose
from engine.runs.directory import events as ev
from engine.runs.directory.create import create_run
from engine.runs.directory.run import Run
from tests.test_runs_directory import a_plan


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create_run(load_text("model: {base: starter}\ndata: {train: starter}\n", tmp_path / "train.yml"))
    (run.folder / "plan.json").write_text(a_plan(rows=4, tokens=100).to_json())  # a limit of 100 bytes
    run.emit(ev.Started(run=run.id, pid=1))
    return run


@pytest.mark.parametrize(
    ("code", "peak", "logged", "memory"),
    [
        (MEMORY_EXIT, 10, "", True),
        (-signal.SIGKILL, 10, "", False),
        (-signal.SIGKILL, 90, "", True),
        (-signal.SIGSEGV, 90, "", True),
        (-signal.SIGABRT, 10, "terminate called after throwing std::bad_alloc", True),
        (-signal.SIGSEGV, 10, "Fatal Python error: Segmentation fault", False),
        (1, 90, "Traceback", False),
        (None, 90, "", False),
    ],
)
def test_what_counts_as_running_out_of_memory(
    run: Run, code: int | None, peak: int, logged: str, memory: bool
) -> None:
    run.emit(ev.Memory(process_peak_bytes=peak))
    run.log.write_text(logged)
    death = diagnose(run, code, since=0)
    assert death is not None
    assert death.memory is memory
    assert f"ft train --resume {run.id}" in death.hint
    assert (str(run.log) if memory else logged) in death.hint


STARVED = """
import faulthandler, resource, psutil
import mlx.core as mx
faulthandler.enable()
mx.set_default_device(mx.cpu)
mx.eval(mx.ones(8))
limit = psutil.Process().memory_info().vms + (48 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
mx.eval(mx.zeros((40960, 16384)))
"""
BROKEN = "import ctypes, faulthandler; faulthandler.enable(); ctypes.string_at(0)"


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is preloaded on Linux alone")
@pytest.mark.parametrize(("code", "memory"), [(STARVED, True), (BROKEN, False)], ids=["starved", "broken"])
def test_segmentation_fault_from_memory_is_recognised(run: Run, code: str, memory: bool) -> None:
    run.log.write_text("mimalloc: error: unable to allocate memory (of the engine before)\n")
    before = run.log.stat().st_size
    with run.log.open("ab") as log:
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | allocator.preload(), stderr=log, check=False
        )
    assert done.returncode == -signal.SIGSEGV
    death = diagnose(run, done.returncode, since=0, witness=Evidence(log_before=before, peak_bytes=10))
    assert death is not None
    assert death.memory is memory
    assert ("out of memory" in death.message) is memory


def test_memory_death_tells_held_and_predicted_memory(run: Run) -> None:
    run.emit(ev.Memory(process_peak_bytes=90))
    death = diagnose(run, -signal.SIGKILL, since=0, witness=Evidence(peak_bytes=97_000_000))
    assert death is not None
    assert run.plan is not None
    assert "It held 97.0 MB at most; the plan predicted" in death.message


def test_engine_that_said_why_is_not_examined(run: Run) -> None:
    run.emit(ev.Failed(kind="data", message="no rows"))
    assert diagnose(run, 3, since=0) is None


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA out of memory"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (raised_from(ModelError("it does not load"), OSError(12, "Cannot allocate memory")), True),
        (raised_from(ModelError("it does not load"), OSError(2, "No such file")), False),
        (RuntimeError("Resource temporarily unavailable"), False),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_exceptions_say_that_memory_ran_out(error: Exception, memory: bool) -> None:
    assert is_exhaustion(error) is memory


@pytest.mark.parametrize(
    ("phase", "told", "loaded"),
    [
        ("loading", "SIGKILL while loading:", False),
        ("training", "SIGKILL at step 0:", True),
        ("evaluating", "SIGKILL while evaluating at step 0:", True),
    ],
)
def test_death_says_what_the_engine_did(run: Run, phase: str, told: str, loaded: bool) -> None:
    run.emit(ev.Phase(name=phase))
    death = diagnose(run, -signal.SIGKILL, since=0, witness=Evidence(peak_bytes=97))
    assert death is not None
    assert told in death.message
    assert death.loaded is loaded


def test_dead_engine_shows_end_of_its_log(run: Run) -> None:
    run.log.write_text("".join(f"line {i}\n" for i in range(1000)))
    with pytest.raises(TrainingError) as error:
        outcome(run, code=-11)
    assert "SIGSEGV" in error.value.message
    assert "line 999" in error.value.hint
    assert "line 100\n" not in error.value.hint


def test_silent_engine_error_means_full_disk(run: Run) -> None:
    """The engine could not even write down why it ended."""
    with pytest.raises(MachineError, match="could not write"):
        outcome(run, code=MachineError.exit_code)
