"""A run that was stopped anywhere and resumed ends with the same bytes as one that never stopped."""

import shutil
from pathlib import Path

import pytest

from engine.backend_spec import BackendName
from engine.errors import CheckpointError
from engine.runs.directory import checkpoints
from engine.runs.directory.events import Eval, Sample, Step
from engine.training.progress import Progress
from tests.training import Job, StopAtPoll

WEIGHTS = "adapter/adapter_model.safetensors"


def run_to_the_end(
    model: Path, folder: Path, stops: tuple[int, ...] = (), backend: BackendName = "peft"
) -> tuple[Job, list[int]]:
    """Train, stopping each time after so many polls; returns the job and the steps at which it stopped."""
    folder.mkdir()
    job = Job.make(model, folder)
    job.plan = job.plan.changed(backend=backend)
    resume_from, stopped_at = None, []
    for polls in stops:
        if job.train(StopAtPoll(job.run, polls), resume_from) == "completed":
            break
        resume_from = checkpoints.latest(job.run.folder)
        assert resume_from is not None
        stopped_at.append(checkpoints.step_of(resume_from))
    assert job.train(resume_from=resume_from) == "completed"
    return job, stopped_at


@pytest.fixture(scope="module")
def unbroken(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(tmp_path_factory.mktemp("home")))
        return run_to_the_end(tiny_model, tmp_path_factory.mktemp("unbroken") / "run")[0]


@pytest.mark.parametrize(
    "stops",
    [(0,), (3,), (9,), (10,), (11,), (12,), (17,), (25, 0), (8, 8, 8, 8, 8)],
    ids=lambda stops: "-".join(map(str, stops)),
)
def test_resume_is_exact_after_stop(
    unbroken: Job, tiny_model: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    """The files have the bytes of a run that never stopped."""
    job, stopped_at = run_to_the_end(tiny_model, tmp_path / "run", stops)
    assert stopped_at
    assert (job.run.folder / WEIGHTS).read_bytes() == (unbroken.run.folder / WEIGHTS).read_bytes()

    def told(one: Job) -> list[tuple[object, ...]]:
        seen: dict[tuple[object, ...], None] = {}
        for event in one.run.events():
            if isinstance(event, Step):
                seen[("step", event.step, event.loss, event.lr, event.grad_norm)] = None
            elif isinstance(event, Eval):
                seen[("eval", event.step, event.loss, event.best)] = None
            elif isinstance(event, Sample):
                seen[("sample", event.step, event.text)] = None
        return list(seen)

    assert told(job) == told(unbroken)


def test_smaller_micro_batch_keeps_step_examples(unbroken: Job, tiny_model: Path, tmp_path: Path) -> None:
    """The micro-batch is smaller after a restart."""
    folder = tmp_path / "run"
    folder.mkdir()
    job = Job.make(tiny_model, folder, training={"batch_size": 1})
    job.train()
    tokens = [[e.tokens for e in one.run.events() if isinstance(e, Step)] for one in (job, unbroken)]
    assert tokens[0] == tokens[1]


def test_resuming_older_checkpoint_undoes_later_steps(tiny_model: Path, tmp_path: Path) -> None:
    job, _ = run_to_the_end(tiny_model, tmp_path / "run")
    finished = (job.run.folder / WEIGHTS).read_bytes()
    older = checkpoints.whole(job.run.checkpoints)[0]
    assert checkpoints.step_of(older) < job.plan.steps
    assert job.train(resume_from=older) == "completed"
    assert (job.run.folder / WEIGHTS).read_bytes() == finished


def test_the_best_checkpoint_outlives_the_newer_ones(tiny_model: Path, tmp_path: Path) -> None:
    job, _ = run_to_the_end(tiny_model, tmp_path / "run")
    best = checkpoints.named(job.run.checkpoints, "best")
    evals = [event for event in job.run.events() if isinstance(event, Eval)]
    assert best is not None
    assert checkpoints.step_of(best) == min(evals[1:], key=lambda event: event.loss).step
    kept = [path for path in checkpoints.whole(job.run.checkpoints) if path != best]
    assert len(kept) <= job.config.checkpoints.keep
    assert not list(job.run.checkpoints.glob(".tmp-*"))


def test_early_stopping_keeps_the_best_adapter(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(
        tiny_model, tmp_path,
        training={"learning_rate": 0.5, "scheduler": "constant", "epochs": 20, "max_grad_norm": None},
        evaluation={"every": 1, "early_stopping_patience": 3},
    )  # fmt: skip
    assert job.train() == "early_stopping"
    best = checkpoints.named(job.run.checkpoints, "best")
    if best is not None:
        assert (best / WEIGHTS).read_bytes() == (job.run.folder / WEIGHTS).read_bytes()
    assert (
        Progress.load((best or checkpoints.latest(job.run.folder)) / checkpoints.PROGRESS).step
        < job.plan.steps
    )  # type: ignore[operator]


def test_a_checkpoint_of_another_recipe_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    job, _ = run_to_the_end(tiny_model, tmp_path / "run")
    (tmp_path / "other").mkdir()
    other = Job.make(tiny_model, tmp_path / "other", adapter={"target_modules": ["q_proj"]})
    with pytest.raises(CheckpointError, match="other weights"):
        other.train(resume_from=checkpoints.latest(job.run.folder))


def test_torn_checkpoint_is_refused_with_hint(tiny_model: Path, tmp_path: Path) -> None:
    job, _ = run_to_the_end(tiny_model, tmp_path / "run")
    last = checkpoints.latest(job.run.folder)
    assert last is not None
    state = last / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError) as caught:
        job.train(resume_from=last)
    assert "older" in caught.value.hint


def test_leftover_of_killed_save_is_no_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    job, _ = run_to_the_end(tiny_model, tmp_path / "run")
    last = checkpoints.latest(job.run.folder)
    assert last is not None
    shutil.copytree(last, last.with_name(".tmp-step-000999"))
    assert checkpoints.latest(job.run.folder) == last
