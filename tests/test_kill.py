"""Kill −9 at any moment loses no more than the work since the last checkpoint, and never leaves a broken one."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.runs.directory import checkpoints
from engine.runs.directory.events import Step
from engine.runs.directory.run import Run
from engine.training.progress import Progress
from tests.training import Job

WEIGHTS = "adapter/adapter_model.safetensors"
pytestmark = pytest.mark.slow


def start_engine(run: Run, resume: Path | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "engine.process.worker", str(run.folder)]
    command += ["--resume", str(resume)] if resume else []
    with run.log.open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def kill_while_saving(run: Run, resume: Path | None) -> None:
    """Start the engine and kill it as soon as the save of a new checkpoint is under way."""
    engine = start_engine(run, resume)
    before = len(checkpoints.whole(run.checkpoints))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert engine.poll() is None, run.log.read_text()
        # The first save may end before it is seen; any later one is as good.
        if list(run.checkpoints.glob(".tmp-step-*")) and len(checkpoints.whole(run.checkpoints)) > before:
            engine.kill()
            engine.wait()
            return
        time.sleep(0.0005)
    pytest.fail("no save was seen")


def test_resume_is_exact_after_kill_while_saving(tiny_model: Path, tmp_path: Path) -> None:
    jobs = []
    for name in ("killed", "unbroken"):
        (tmp_path / name).mkdir()
        jobs.append(
            Job.make(tiny_model, tmp_path / name, checkpoints={"every": 1, "keep": 9}, training={"epochs": 4})
        )
    killed, unbroken = jobs
    resume: Path | None = None
    for _ in range(2):
        kill_while_saving(killed.run, resume)
        assert killed.run.state().status == "crashed"
        for checkpoint in checkpoints.whole(killed.run.checkpoints):
            assert Progress.load(checkpoint / checkpoints.PROGRESS).step == checkpoints.step_of(checkpoint)
        resume = checkpoints.latest(killed.run.folder)
        assert resume is not None
        done = max(event.step for event in killed.run.events() if isinstance(event, Step))
        assert done - checkpoints.step_of(resume) <= 1
    for job, checkpoint in ((killed, resume), (unbroken, None)):
        assert start_engine(job.run, checkpoint).wait(120) == 0, job.run.log.read_text()
    assert not list(killed.run.checkpoints.glob(".tmp-*"))
    assert (killed.run.folder / WEIGHTS).read_bytes() == (unbroken.run.folder / WEIGHTS).read_bytes()
