"""A run on MLX is a run like any other: the same files and events, and stopped anywhere it ends with the same bytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import CheckpointError
from engine.planning.plan import Plan
from engine.runs.directory import checkpoints
from engine.runs.directory.events import Eval, Step
from tests.plan_fixtures import flat
from tests.training import Job, StopAtPoll

WEIGHTS = "adapter/adapter_model.safetensors"
pytestmark = pytest.mark.slow


def in_a_process(job: Job, resume: Path | None = None) -> None:
    """Run the real engine on the job's run directory to its end."""
    command = [sys.executable, "-P", "-m", "engine.process.worker", str(job.run.folder)]
    command += ["--resume", str(resume)] if resume else []
    with job.run.log.open("ab") as log:
        assert subprocess.run(command, stdout=log, stderr=log).returncode == 0, job.run.log.read_text()


@pytest.fixture(scope="module")
def unbroken(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A whole run, in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(tmp_path_factory.mktemp("home")))
        job = Job.make(tiny_model, tmp_path_factory.mktemp("unbroken"), backend="mlx")
        in_a_process(job)
        return job


def test_mlx_engine_runs_without_torch(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, backend="mlx", training={"max_steps": 1}, evaluation={"samples": []})
    code = (
        "import sys; from engine.process.worker import main; "
        f"sys.argv = ['engine.process.worker', {str(job.run.folder)!r}]\n"
        "print(main(), bool(sys.modules.get('torch')), 'mlx_lm' in sys.modules)"
    )
    said = subprocess.check_output([sys.executable, "-P", "-c", code], text=True, stderr=subprocess.DEVNULL)
    assert said.split()[-3:] == ["0", "False", "True"]


def losses(job: Job) -> dict[tuple[str, int], float]:
    """Training and validation losses by step; what a resumed run does again counts once."""
    found = {("step", e.step): e.loss for e in job.run.events() if isinstance(e, Step)}
    return found | {("eval", e.step): e.loss for e in job.run.events() if isinstance(e, Eval)}


@pytest.mark.parametrize("polls", [3, 12, 17])
def test_resume_is_exact_after_stop(unbroken: Job, tiny_model: Path, tmp_path: Path, polls: int) -> None:
    """The files have the bytes of a run that never stopped."""
    job = Job.make(tiny_model, tmp_path, backend="mlx")
    assert job.config.adapter.dropout > 0
    assert job.train(StopAtPoll(job.run, polls)) == "stopped"
    resume = checkpoints.latest(job.run.folder)
    assert resume is not None
    assert checkpoints.step_of(resume) < job.plan.steps
    assert job.train(resume_from=resume) == "completed"
    assert (job.run.folder / WEIGHTS).read_bytes() == (unbroken.run.folder / WEIGHTS).read_bytes()
    assert losses(job) == losses(unbroken)


def test_resumed_run_keeps_its_backend(tiny_model: Path, tmp_path: Path) -> None:
    """Here `auto` would take peft, as it may elsewhere once a package is gone or has come."""
    job = Job.make(tiny_model, tmp_path, backend="mlx")
    assert job.train(StopAtPoll(job.run, 12)) == "stopped"
    (job.run.folder / "plan.json").write_text(job.plan.to_json())
    recipe = job.run.folder / "train.yml"
    recipe.write_text(recipe.read_text().replace("backend: mlx", "backend: auto"))
    assert job.run.config.backend == "auto"
    in_a_process(job, checkpoints.latest(job.run.folder))
    assert job.run.plan is not None
    assert job.run.plan.backend == "mlx"


def test_run_of_earlier_version_keeps_its_rows(tiny_model: Path, tmp_path: Path) -> None:
    """Until 0.1 rows of like length were drawn for a step where they are padded; its plans do not say so."""

    def begun(name: str) -> Job:
        (tmp_path / name).mkdir()
        job = Job.make(tiny_model, tmp_path / name, backend="mlx", evaluation={"samples": []})
        told = flat(job.plan)
        del told["row_order"], told["cut_cost"]
        (job.run.folder / "plan.json").write_text(json.dumps(told))
        job.plan = Plan.from_json(json.dumps(told))
        return job

    whole, stopped, new = begun("whole"), begun("stopped"), begun("new")
    whole.train()
    assert stopped.train(StopAtPoll(stopped.run, 7)) == "stopped"
    in_a_process(stopped, checkpoints.latest(stopped.run.folder))
    assert (stopped.run.folder / WEIGHTS).read_bytes() == (whole.run.folder / WEIGHTS).read_bytes()
    new.plan = new.plan.changed(row_order="shuffled")
    new.train()
    assert losses(new) != losses(whole)


def test_a_run_looks_like_one_on_torch(unbroken: Job, tiny_model: Path, tmp_path: Path) -> None:
    other = Job.make(tiny_model, tmp_path, backend="peft", training={"precision": "fp32"})
    in_a_process(other)

    def files(job: Job) -> set[str]:
        folders = (job.run.adapter, job.run.checkpoints)
        found = {str(p.relative_to(job.run.folder)) for folder in folders for p in folder.rglob("*")}
        return {name for name in found if not name.endswith("scaler.json")}

    def kinds(job: Job) -> list[tuple[str, int]]:
        told = [e for e in job.run.events() if isinstance(e, Step | Eval)]
        return [(type(event).__name__, event.step) for event in told]

    assert files(unbroken) == files(other)
    assert kinds(unbroken) == kinds(other)


def test_a_checkpoint_of_another_recipe_is_refused(unbroken: Job, tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, backend="mlx", adapter={"target_modules": ["q_proj"]})
    with pytest.raises(CheckpointError, match="other weights"):
        job.train(resume_from=checkpoints.latest(unbroken.run.folder))


def test_a_broken_checkpoint_says_so(unbroken: Job, tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, backend="mlx")
    whole = checkpoints.latest(unbroken.run.folder)
    assert whole is not None
    broken = tmp_path / "checkpoint"
    broken.mkdir()
    (broken / checkpoints.PROGRESS).write_bytes((whole / checkpoints.PROGRESS).read_bytes())
    (broken / "state.safetensors").write_bytes((whole / "state.safetensors").read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        job.train(resume_from=broken)
