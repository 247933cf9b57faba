"""`adapter.from`: a run starts from an adapter that is there, with rows of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import load_file

from engine.backends import load_trainer
from engine.config.load import load_text
from engine.errors import ConfigError, ModelError
from engine.models.mlx_adapter import to_peft
from engine.models.saved_adapter import read_adapter
from engine.planning.cached import CachedPlanner
from engine.planning.estimate import estimate
from engine.runs.directory import checkpoints
from engine.runs.directory.create import create_run
from engine.runs.directory.events import Eval, Phase, Warned
from engine.runs.directory.run import Run
from engine.runs.directory.start_adapter import find_start, start_of
from ft import cli
from tests.test_adapters import KINDS, losses_in_peft, plain_peft
from tests.tiny import make_family, make_tiny_model
from tests.training import Job, StopAtPoll, batch_of, recipe_text, train_step, write_rows

ROWS = [[3, 40, 50, 60, 70, 80], [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]]
BATCH = batch_of(ROWS, packed=False)
FP32 = {"weights_dtype": "fp32", "compute_dtype": "fp32"}
QUICK = {"evaluation": {"samples": []}, "training": {"max_steps": 4, "precision": "fp32"}}


def trained(model: Path, folder: Path, **sections: Any) -> Job:
    """A job that is trained to its end."""
    folder.mkdir()
    job = Job.make(model, folder, **QUICK | sections)
    assert job.train() == "completed"
    return job


@pytest.fixture(scope="module")
def first(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run whose adapter others start from; its folder is not in the runs folder of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(tmp_path_factory.mktemp("home")))
        return trained(tiny_model, tmp_path_factory.mktemp("first") / "job")


def evals(job: Job) -> list[float]:
    return [event.loss for event in job.run.events() if isinstance(event, Eval)]


@pytest.mark.parametrize("backend", ["peft", "mlx"])
def test_run_starts_from_another_runs_adapter(
    first: Job, tiny_model: Path, tmp_path: Path, backend: str
) -> None:
    job = trained(tiny_model, tmp_path / "job", backend=backend, adapter={"from": str(first.run.folder)})
    adapter = job.run.config.adapter
    assert (adapter.type, adapter.rank, adapter.alpha) == ("lora", 4, 32)
    assert adapter.dropout == 0, "dropout is the new run's own"
    assert evals(job)[0] == pytest.approx(evals(first)[-1], rel=1e-3)
    assert evals(job)[-1] < evals(first)[-1]
    ours, theirs = (load_file(run.adapter / "adapter_model.safetensors") for run in (job.run, first.run))
    assert ours.keys() == theirs.keys()
    assert any(not np.array_equal(ours[name], theirs[name]) for name in ours)
    assert job.run.provenance["start"]["run"] == first.run.id
    assert job.run.provenance["start"]["fingerprint"] == read_adapter(first.run.adapter).fingerprint


@pytest.mark.parametrize(
    "kind", [kind for kind, about in KINDS.items() if about.get("type") not in ("adalora", "ptuning")]
)
def test_reused_adapter_starts_where_it_ended(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    cleared = {"rank": 16, "dropout": 0.0}
    one = Job.make(tiny_model, tmp_path / "a", adapter=cleared | KINDS[kind])
    backend = one.backend(**FP32)
    for seed in range(3):
        train_step(backend, [BATCH], 2e-2, seed, lambda: None)
    backend.save_weights(tmp_path / "saved")
    (tmp_path / "b").mkdir()
    other = Job.make(tiny_model, tmp_path / "b", adapter={"from": str(tmp_path / "saved")})
    assert other.config.adapter.type == KINDS[kind].get("type", "lora")
    doubled = 2 if KINDS[kind].get("init") in ("pissa", "olora") else 1
    if "rank" in KINDS[kind]:
        assert other.config.adapter.rank == doubled * KINDS[kind]["rank"]
    again = other.backend(**FP32)
    assert np.allclose(again.model.logps(BATCH).tolist(), backend.model.logps(BATCH).tolist(), atol=1e-4)
    before = again.evaluate(BATCH).loss
    for seed in range(3):
        train_step(again, [BATCH], 2e-3, seed, lambda: None)
    assert again.evaluate(BATCH).loss < before
    again.save_weights(tmp_path / "again")
    wanted = losses_in_peft(plain_peft(tiny_model, tmp_path / "again"))
    assert np.allclose(again.model.logps(BATCH).tolist(), wanted, atol=1e-3)


@pytest.mark.parametrize("backend", ["peft", "mlx"])
def test_adapter_dropout_is_of_new_run(first: Job, tiny_model: Path, tmp_path: Path, backend: str) -> None:
    assert first.config.adapter.dropout == 0.1
    for dropout in (0.0, 0.5):
        (tmp_path / str(dropout)).mkdir()
        adapter = {"from": str(first.run.adapter), "dropout": dropout}
        job = Job.make(tiny_model, tmp_path / str(dropout), backend=backend, adapter=adapter)
        losses = [
            train_step(
                load_trainer(job.plan.changed(**FP32), job.config, tiny_model, adapter=job.start),
                [BATCH],
                1e-3,
                seed,
                lambda: None,
            ).loss_sum
            for seed in (1, 2)
        ]
        assert (losses[0] == losses[1]) == (dropout == 0)


def test_begun_run_needs_start_adapter_no_more(tiny_model: Path, tmp_path: Path, first: Job) -> None:
    source = tmp_path / "source"
    shutil.copytree(first.run.adapter, source)
    start = {"from": str(source), "dropout": 0.1}
    unbroken = trained(tiny_model, tmp_path / "unbroken", adapter=start)
    (tmp_path / "stopped").mkdir()
    job = Job.make(tiny_model, tmp_path / "stopped", **QUICK, adapter=start)
    shutil.rmtree(source)
    assert job.train(StopAtPoll(job.run, 9)) == "stopped"
    assert Run.open(job.run.folder).config.adapter.from_ == str(source)
    assert job.train(resume_from=checkpoints.latest(job.run.folder)) == "completed"
    weights = "adapter_model.safetensors"
    assert (job.run.adapter / weights).read_bytes() == (unbroken.run.adapter / weights).read_bytes()


def test_adapter_from_takes_step_or_checkpoint(first: Job, tiny_model: Path, tmp_path: Path) -> None:
    def start(reference: object) -> Path:
        text = recipe_text(tiny_model, tmp_path / "rows.jsonl", adapter={"from": str(reference)})
        found = find_start(load_text(text, tmp_path / "train.yml").config)
        assert found
        return found.adapter.folder

    checkpoint = first.run.checkpoints / "step-000003"
    assert start(first.run.folder) == first.run.adapter
    assert start(f"{first.run.folder}@3") == start(checkpoint) == checkpoint / "adapter"
    with pytest.raises(ConfigError, match="no checkpoint of step 2; it has checkpoints of the steps 3, 4"):
        start(f"{first.run.folder}@2")
    with pytest.raises(ConfigError, match=r"adapter\.from: There is no run 'nothing'"):
        start("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"adapter\.from: There is no run"):
        start("./empty")


def test_recipe_contradicting_adapter_is_refused(first: Job, tiny_model: Path, tmp_path: Path) -> None:
    """The message has what both say."""
    source = str(first.run.adapter)

    def refused(**adapter: Any) -> str:
        text = recipe_text(tiny_model, write_rows(tmp_path), adapter={"from": source} | adapter)
        with pytest.raises(ConfigError) as caught:
            create_run(load_text(text, tmp_path / "train.yml"), tmp_path / "run")
        with pytest.raises(ConfigError):
            estimate(load_text(text, tmp_path / "train.yml").config, start=read_adapter(Path(source)))
        assert not (tmp_path / "run").exists()
        return caught.value.message

    assert refused(rank=8) == f"adapter.rank: 8, and the adapter in {source} has 4"
    assert "adapter.type: dora, and the adapter in" in refused(type="dora")
    assert "adapter.target_modules: [q_proj], and" in refused(target_modules=["q_proj"])
    assert "adapter.init: pissa, and" in refused(init="pissa")
    with pytest.raises(ConfigError, match=r"adapter\.from: is a key of"):
        load_text(
            recipe_text(tiny_model, tmp_path / "x", adapter={"from": source, "type": "adalora"}), tmp_path
        )
    with pytest.raises(ConfigError, match=r"adapter\.from: adapter\.type: none trains"):
        load_text(recipe_text(tiny_model, tmp_path / "x", adapter={"from": source, "type": "none"}), tmp_path)


def test_validate_checks_recipe_against_adapter(
    first: Job, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def validate(start: object, **adapter: Any) -> tuple[int, str]:
        text = recipe_text(tiny_model, write_rows(tmp_path), adapter={"from": str(start)} | adapter)
        (tmp_path / "train.yml").write_text(text)
        code = cli.main(["validate", str(tmp_path / "train.yml")])
        return code, " ".join(capfd.readouterr().err.split())

    assert validate(first.run.folder)[0] == 0
    assert validate(f"{first.run.folder}@3")[0] == 0
    for start, adapter, code, words in (
        (tmp_path / "gone", {}, 4, "gone does not exist"),
        ("no-such-run", {}, 2, "There is no run 'no-such-run'"),
        (first.run.folder, {"rank": 8}, 2, "adapter.rank: 8, and the adapter in"),
    ):
        found, said = validate(start, **adapter)
        assert found == code, said
        assert words in said


@pytest.mark.parametrize("kind", ["adalora", "ptuning"])
def test_adapter_types_without_reuse_say_why(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"rank": 16, "dropout": 0.0} | KINDS[kind])
    job.backend().save_weights(tmp_path / "saved")
    with pytest.raises(ModelError, match="no run can start from this adapter") as caught:
        read_adapter(tmp_path / "saved")
    assert caught.value.exit_code == 4


def test_adapter_of_other_model_is_refused_early(first: Job, tiny_model: Path, tmp_path: Path) -> None:
    other = make_family(tmp_path / "other", tiny_model, "Llama", {"num_key_value_heads": 2})
    text = recipe_text(other, write_rows(tmp_path), adapter={"from": str(first.run.adapter)})
    config = load_text(text, tmp_path / "train.yml").config
    for way in (
        lambda: estimate(config, start=start_of(config)),
        lambda: CachedPlanner(start_of).plan(text, tmp_path / "train.yml"),
    ):
        with pytest.raises(ModelError, match="the adapter is for another model"):
            way()


def test_plan_counts_parameters_of_adapter(first: Job, tiny_model: Path, tmp_path: Path) -> None:
    def plan(**adapter: Any) -> Any:
        text = recipe_text(tiny_model, write_rows(tmp_path), adapter=adapter)
        path = tmp_path / "train.yml"
        config = load_text(text, path).config
        found = estimate(config, start=start_of(config))
        assert CachedPlanner(start_of).plan(text, path).memory == found.memory
        return found

    fresh, going_on = plan(rank=4), plan(**{"from": str(first.run.folder)})
    assert going_on.memory == fresh.memory
    assert str(first.run.adapter) in going_on.reasons["adapter"]
    assert "adapter" not in fresh.reasons


def mlx_adapter(model: Path, folder: Path, kind: str = "lora") -> Any:
    """An adapter as `mlx_lm.lora` writes it, with values that are not those of a start; returns the model with it."""
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load_model

    loaded, _ = load_model(model)
    settings = {"rank": 4, "scale": 3.0, "dropout": 0.0}
    loaded.freeze()
    linear_to_lora_layers(loaded, 2, settings, use_dora=kind == "dora")
    draw = np.random.default_rng(0)
    values = [
        (name, mx.array(np.array(value) + 0.05 * draw.standard_normal(value.shape), value.dtype))
        for name, value in tree_flatten(loaded.trainable_parameters())
    ]
    loaded.load_weights(values, strict=False)
    folder.mkdir()
    mx.save_safetensors(
        str(folder / "adapters.safetensors"), dict(tree_flatten(loaded.trainable_parameters()))
    )
    about = {"fine_tune_type": kind, "num_layers": 2, "lora_parameters": settings, "model": str(model)}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return loaded


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_mlx_lm_adapter_starts_on_every_backend(
    kind: str, family: str, tiny_model: Path, tmp_path: Path
) -> None:
    model = tiny_model
    if family == "gpt2":
        model = make_family(
            tmp_path / "model", tiny_model, "GPT2", {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        )
    loaded = mlx_adapter(model, tmp_path / "theirs", kind) if family == "llama" else None
    if loaded is None:  # mlx-lm itself does not load the names of transformers 5
        one = Job.make(model, tmp_path, backend="mlx", adapter={"type": kind})
        backend = load_trainer(one.plan.changed(**FP32), one.config, model)
        train_step(backend, [BATCH], 1e-2, 0, lambda: None)
        as_mlx_lm(backend, tmp_path / "theirs", kind)
        wanted = backend.model.logps(BATCH).tolist()
    else:
        wanted = []
        for row in ROWS:
            logits = loaded(mx.array([row]))[0].astype(mx.float32)
            chances = np.array(logits - mx.logsumexp(logits, -1, keepdims=True))
            wanted += [float(chances[i - 1, row[i]]) for i in range(1, len(row))]
    for backend_name in ("peft", "mlx"):
        folder = tmp_path / backend_name
        folder.mkdir()
        job = Job.make(model, folder, backend=backend_name, adapter={"from": str(tmp_path / "theirs")})
        assert job.config.adapter.type == kind
        assert job.config.adapter.alpha == pytest.approx(12 if loaded is not None else 32)
        start = to_peft(read_adapter(job.run.start), "gpt2" if family == "gpt2" else "llama")
        plan = job.plan.changed(**FP32)
        ours = load_trainer(plan, job.config, model, adapter=start.folder)
        assert np.allclose(ours.model.logps(BATCH).tolist(), wanted, atol=1e-3)


def as_mlx_lm(backend: Any, folder: Path, kind: str) -> None:
    """Write an adapter of ours as mlx-lm would."""
    names = {"lora_A": "lora_a", "lora_B": "lora_b", "magnitude": "m"}
    tensors = {
        f"{path.rpartition('.')[0]}.{names[path.rpartition('.')[2]]}": mx.contiguous(value.T)
        for path, value in backend.trained.items()
    }
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    settings = {"rank": 4, "scale": 8.0, "dropout": 0.0}
    about = {"fine_tune_type": kind, "num_layers": -1, "lora_parameters": settings}
    (folder / "adapter_config.json").write_text(json.dumps(about))


@pytest.mark.slow
def test_train_starts_from_adapter_of_run_id(tiny_model: Path, tmp_path: Path) -> None:
    """The commands as a person types them; a base that goes by another name, or has other weights, is told."""
    before = trained(tiny_model, tmp_path / "before")
    changed = make_tiny_model(tmp_path / "changed", seed=1)

    def ft(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ft.cli", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def train_from(run_id: str, model: Path) -> tuple[Run, list[str]]:
        sections = {"evaluation": {"samples": []}, "training": {"max_steps": 1}, "adapter": {"from": run_id}}
        (tmp_path / "train.yml").write_text(recipe_text(model, write_rows(tmp_path), **sections))
        ft("train", "train.yml", "--plain")
        run = next(run for run in Run.all() if run.config.adapter.from_ == run_id)
        notes = [event.note for event in run.events() if isinstance(event, Phase)]
        assert f"starting from the adapter of {run_id}" in notes
        return run, [event.message for event in run.events() if isinstance(event, Warned)]

    second, told = train_from(before.run.id, changed)
    assert any("says that it was trained on" in message for message in told), told
    assert second.provenance["start"]["run"] == before.run.id
    assert second.config.adapter.rank == 4
    assert "trained further" in ft("plan", "train.yml")
    _, told = train_from(second.id, tiny_model)
    assert any("trained on other weights" in message for message in told), told
