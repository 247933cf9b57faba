"""The kernel kills an engine that takes too much memory, for real: in a control group with a limit of its own."""

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runs.directory.events import Step, Warned
from engine.runs.directory.run import Run
from tests.terminal import FT, PATIENCE_S, write_recipe

pytestmark = pytest.mark.slow
ROWS, LENGTH = 256, 448
LIMIT = 980_000_000
"""Room for the engine (0.5 GB without the files that it maps), its parents and half of a step's rows, not for all."""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group (v1 or v2) with the limit; needs the right to make one."""
    root = Path("/sys/fs/cgroup")
    old = (root / "memory" / "memory.limit_in_bytes").exists()
    folder = (root / "memory" if old else root) / f"ft-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield folder
    with contextlib.suppress(OSError):  # a process that is not gone yet keeps it
        folder.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_run_killed_for_memory_resumes_smaller(tmp_path: Path, tiny_model: Path, group: Path) -> None:
    """Nobody has to start it again."""
    recipe = write_recipe(
        tmp_path,
        tiny_model,
        steps=1,
        model={"max_seq_length": LENGTH},
        data={"train": "long.jsonl", "validation": 0},
        training={"effective_batch_size": ROWS, "batch_size": ROWS, "max_steps": 1, "precision": "fp32"},
        evaluation={"samples": []},
    )
    words = " ".join(["fox robot tea"] * 300)
    rows = (json.dumps({"prompt": str(number), "completion": words}) + "\n" for number in range(ROWS))
    (tmp_path / "long.jsonl").write_text("".join(rows))
    done = subprocess.run(
        [*FT, "train", str(recipe), "--plain", "--force"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    run = Run.open()
    events = list(run.events())
    assert done.returncode == 0, done.stderr
    restarts = [e for e in events if isinstance(e, Warned) and "starts again" in e.message]
    assert restarts, "the kernel had a reason to kill"
    steps = {event.step: event for event in events if isinstance(event, Step)}
    assert list(steps) == [1]
    assert all(event.tokens == ROWS * LENGTH for event in steps.values()), "the effective batch stays whole"
    assert run.state().status == "completed"
