"""A step that runs out of memory is done again in smaller pieces; the effective batch and the run stay whole."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.runs.events import Step, Warned
from engine.runs.run import Run
from tests.training import Job

pytestmark = pytest.mark.slow
ROOM = 48 << 20
"""What the limited process may take beyond the loaded model: too little for a whole step at once."""


def limited_training(model: Path, folder: Path) -> None:
    """In a child: load, then allow little more memory than there is in use, then train."""
    words = " ".join(["fox robot tea"] * 40)
    job = Job.make(
        model,
        folder,
        data={"train": str(rows_of(folder, words)), "validation": 0.0},
        model={"max_seq_length": 128},
        training={"effective_batch_size": 64, "batch_size": 64, "max_steps": 2, "epochs": 1},
        evaluation={"samples": []},
    )
    job.backend()  # once, so that what is loaded but once lies under the limit
    limit = psutil.Process().memory_info().vms + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(job.run.folder, flush=True)
    assert job.train() == "completed"


def rows_of(folder: Path, words: str) -> Path:
    path = folder / "long.jsonl"
    path.write_text("".join(f'{{"text": "{number} {words}"}}\n' for number in range(128)))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not enforced elsewhere")
def test_a_step_without_enough_memory_is_done_again_in_halves(tiny_model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.test_out_of_memory import limited_training; "
        "limited_training(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_model), str(tmp_path)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = list(Run(Path(done.stdout.split()[0])).events())
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert any("Out of memory at step 0" in message and "stays 64" in message for message in warnings)
    steps = [event for event in events if isinstance(event, Step)]
    assert [event.step for event in steps] == [1, 2]
    assert all(event.tokens == 64 * 128 for event in steps), "every step still learns from its whole batch"
