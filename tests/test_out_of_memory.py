"""A step that runs out of memory is done again in smaller pieces; the effective batch and the run stay whole."""

import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.config.load import load_text
from engine.data.prepare import prepare
from engine.errors import OutOfMemoryError
from engine.hardware.probe import probe
from engine.models.sizing import shape_of
from engine.runs.directory import checkpoints
from engine.runs.directory.create import create_run
from engine.runs.directory.events import Started, Step, Warned
from engine.runs.directory.run import Run
from tests.plan_fixtures import flat, planned
from tests.terminal import FT, PATIENCE_S
from tests.training import Job

pytestmark = pytest.mark.slow
linux = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not enforced elsewhere")
ROOM = 48 << 20
"""Bytes that the limited process may take beyond the loaded model: too few for a step in a single micro-batch."""


def limited_training(model: Path, folder: Path, validation: float, room: int) -> None:
    """In a child: load, then allow `room` bytes more than there are in use, then train."""
    words = " ".join(["fox robot tea"] * 40)
    job = Job.make(
        model,
        folder,
        data={"train": str(rows_of(folder, words)), "validation": validation},
        model={"max_seq_length": 128},
        training={
            "effective_batch_size": 64,
            "batch_size": 64,
            "max_steps": 2,
            "epochs": 1,
            "precision": "fp32",  # in bf16, oneDNN alone needs more than the room that is left
        },
        evaluation={"samples": []},
    )
    job.backend()  # once, so that what is loaded but once lies under the limit
    limit = psutil.Process().memory_info().vms + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(job.run.folder, flush=True)
    assert job.train() == "completed"


def rows_of(folder: Path, words: str) -> Path:
    path = folder / "long.jsonl"
    path.write_text("".join(f'{{"prompt": "{number}", "completion": " {words}"}}\n' for number in range(128)))
    return path


def in_a_child(model: Path, folder: Path, validation: float, room: int) -> tuple[list[str], list[Step]]:
    """The warnings and steps of a training in little memory."""
    code = (
        "import sys; from pathlib import Path; from tests.test_out_of_memory import limited_training; "
        "limited_training(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, (model, folder, validation, room))],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = list(Run(Path(done.stdout.split()[0])).events())
    warnings = [event.message for event in events if isinstance(event, Warned)]
    return warnings, [event for event in events if isinstance(event, Step)]


@linux
def test_step_out_of_memory_retries_in_halves(tiny_model: Path, tmp_path: Path) -> None:
    warnings, steps = in_a_child(tiny_model, tmp_path, 0.0, ROOM)
    assert any("Out of memory at step 0" in message and "stays 64" in message for message in warnings)
    assert [event.step for event in steps] == [1, 2]
    assert all(event.tokens == 64 * 128 for event in steps), "every step still learns from its whole batch"


@linux
def test_evaluation_out_of_memory_retries_in_halves(tiny_model: Path, tmp_path: Path) -> None:
    warnings, steps = in_a_child(tiny_model, tmp_path, 0.5, ROOM // 3)
    assert any("Out of memory while evaluating at step 0" in message for message in warnings)
    assert [event.tokens for event in steps] == [64 * 128] * 2


LONG = 448
FITS = 16
"""Rows of the long ones, of which the limited engine has memory for one micro-batch; for twice as many it has not."""
SPARE = 55 << 20
PLENTY = 64 << 30


def ft_train(
    model: Path, folder: Path, rows: int, at_once: int, limit: int, backend: str = "mlx"
) -> tuple[int, str, int]:
    """`ft train` under a `ulimit -v`, a step of short rows and then one of long rows, of `rows` each.

    Returns the exit code, what it wrote to stderr, and the most address space that one of ft's processes had.
    """
    folder.mkdir()
    told = ((n, rest) for rest in (" fox", " fox robot tea" * 88) for n in range(rows))
    texts = [{"prompt": str(n), "completion": rest} for n, rest in told]
    (folder / "rows.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    recipe = {
        "seed": 2,  # begins with the short rows: there is a checkpoint when the long ones come
        "backend": backend,
        "model": {"base": str(model), "max_seq_length": LONG},
        "data": {"train": "rows.jsonl", "validation": 0},
        "adapter": {"rank": 4},
        "training": {"max_steps": 2, "effective_batch_size": rows, "batch_size": at_once},
        "evaluation": {"samples": []},
        "checkpoints": {"every": 1},
    }
    begin(json.dumps(recipe), folder)
    command = [*FT, "train", "--resume", str(folder / "run"), "--plain"]
    with (folder / "stderr").open("wb") as stderr:
        train = psutil.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
            stdout=stderr,
            stderr=stderr,
        )
        most, end = 0, time.monotonic() + PATIENCE_S
        while train.poll() is None:
            assert time.monotonic() < end, f"it goes on and on: {(folder / 'stderr').read_text()}"
            most = max(most, *map(peak_of, [train.pid, *children_of(train)]))
            time.sleep(0.02)
    return train.returncode, (folder / "stderr").read_text(), most


def begin(recipe: str, folder: Path) -> None:
    """A run that has a plan and nothing more, of an earlier version, which drew rows of like length for a step: so the
    second step alone is too large."""
    run = create_run(load_text(recipe, folder / "train.yml"), folder / "run")
    model = Path(run.config.model.base)
    examples = prepare(run.config, model).train
    plan = planned(run.config, probe(), shape_of(model), examples.lengths, 0.5)
    body = flat(plan)
    del body["row_order"], body["cut_cost"]
    (run.folder / "plan.json").write_text(json.dumps(body))


def children_of(process: psutil.Process) -> list[int]:
    """Supervisor and engine, and not the compiler that MLX starts: it may take more than they do."""
    try:
        return [child.pid for child in process.children(recursive=True) if "python" in child.name()]
    except psutil.NoSuchProcess:
        return []


def peak_of(pid: int) -> int:
    """Most bytes of address space that a process has had; 0 where it is gone."""
    try:
        found = re.search(r"VmPeak:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0


def told(folder: Path) -> tuple[dict[int, float], list[str], list[int | None]]:
    """Losses by step, the warnings of restarts, and the steps that engines began from."""
    events = list(Run(folder / "run").events())
    losses = {event.step: event.loss for event in events if isinstance(event, Step)}
    restarts = [e.message for e in events if isinstance(e, Warned) and "starts again" in e.message]
    return losses, restarts, [event.resumed_from for event in events if isinstance(event, Started)]


@pytest.fixture(scope="module")
def unlimited(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run with memory enough, and a limit under which an engine can do no more than it did."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(tmp_path_factory.mktemp("home")))
        folder = tmp_path_factory.mktemp("unlimited") / "run"
        code, said, most = ft_train(tiny_model, folder, 2 * FITS, FITS, PLENTY)
    assert code == 0, said
    return folder, most + SPARE


def assert_only_a_message(said: str) -> None:
    assert "out of memory" in said or "ran out of memory" in said
    assert "the plan predicted" in said
    assert "ft train --resume" in said
    assert 'File "' not in said, "no traceback"


@linux
def test_mlx_out_of_memory_restarts_smaller(
    tiny_model: Path, tmp_path: Path, unlimited: tuple[Path, int]
) -> None:
    """It ends with the same loss."""
    reference, limit = unlimited
    folder = tmp_path / "limited"
    code, said, _ = ft_train(tiny_model, folder, 2 * FITS, 2 * FITS, limit)
    assert code == 0, said
    losses, restarts, starts = told(folder)
    assert starts == [None, 1], "from the checkpoint of the step that went well"
    assert len(restarts) == 1
    assert re.search(r"was ended by SIG\w+ at step 1: out of memory", restarts[0])
    assert re.search(r"It held [\d.]+ MB at most; the plan predicted [\d.]+ MB", restarts[0])
    assert f"a micro-batch of at most {FITS} rows" in restarts[0]
    assert losses == pytest.approx(told(reference)[0], rel=1e-4)


@linux
def test_mlx_dying_repeatedly_keeps_checkpoint(
    tiny_model: Path, tmp_path: Path, unlimited: tuple[Path, int]
) -> None:
    """It is started twice again."""
    folder = tmp_path / "hopeless"
    code, said, _ = ft_train(tiny_model, folder, 8 * FITS, 8 * FITS, unlimited[1])
    assert code == OutOfMemoryError.exit_code, said
    assert "out of memory" in said
    assert_only_a_message(said)
    _, restarts, starts = told(folder)
    assert starts == [None, 1, 1]
    assert len(restarts) == 2
    kept = checkpoints.latest(folder / "run")
    assert kept is not None
    assert checkpoints.step_of(kept) == 1


@linux
@pytest.mark.parametrize(
    ("backend", "limit"),
    [
        ("mlx", 225_000_000),
        ("mlx", 265_000_000),  # where MLX could start one or two of its threads, it waited for them for ever
        ("peft", 500_000_000),
    ],
)
def test_engine_unable_to_load_is_not_restarted(
    tiny_model: Path, tmp_path: Path, backend: str, limit: int
) -> None:
    folder = tmp_path / "limited"
    code, said, _ = ft_train(tiny_model, folder, FITS, FITS, limit, backend)
    assert code == OutOfMemoryError.exit_code, said
    assert "while loading" in said
    assert_only_a_message(said)
    assert told(folder)[1:] == ([], [None])
