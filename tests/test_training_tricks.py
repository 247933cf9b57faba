"""Loss and rates of supervised training that differ from the plain ones: DFT, LoRA+, layer-wise rates, NEFTune."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.backends import load_trainer
from engine.backends.layout import rows_of
from engine.backends.rates import rate_factors
from engine.backends.torch.neftune import Neftune
from engine.backends.torch.trainer import TorchTrainer
from engine.config.load import load_text
from engine.config.problems import RecipeError
from engine.data.batching import batch_of_rows
from engine.errors import ConfigError
from engine.hardware.probe import probe
from engine.models.sizing import shape_of
from engine.planning.backend_choice import choose_backend
from engine.runs.directory import checkpoints
from engine.runs.directory.events import Eval, Step
from tests.training import Job, StopAtPoll

ROWS = [[1, 5, 6, 7, 8, 2], [1, 5, 9, 4, 2], [1, 7, 7, 2]]
FP32 = {"weights_dtype": "fp32", "compute_dtype": "fp32"}
WEIGHTS = "adapter/adapter_model.safetensors"


def events(job: Job, kind: type[Any]) -> list[Any]:
    return [event for event in job.run.events() if isinstance(event, kind)]


@pytest.mark.parametrize("backend", ["peft", "mlx"])
def test_dft_counts_tokens_by_their_probability(tiny_model: Path, tmp_path: Path, backend: str) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0}, sft={"loss": "dft"})
    trainer, batch = (
        load_trainer(job.plan.changed(backend=backend, **FP32), job.config, job.model, job.objective),
        (batch_of_rows(ROWS)),
    )
    logps = trainer.model.logps(batch).astype(np.float64)
    step = trainer.step([batch], job.objective.normaliser([batch]), 1e-2, 0, lambda: None)
    assert step.loss == pytest.approx(float(-(np.exp(logps) * logps).mean()), rel=1e-4)
    assert step.metrics["cross_entropy"] == pytest.approx(float(-logps.mean()), rel=1e-4)
    after = trainer.model.logps(batch).astype(np.float64)
    assert trainer.evaluate(batch).loss == pytest.approx(float(-after.sum()), rel=1e-4), "validation is plain"


def test_dft_learns_and_is_validated_as_any_other_run(tiny_model: Path, tmp_path: Path) -> None:
    found = []
    for loss in ("cross_entropy", "dft"):
        (tmp_path / loss).mkdir()
        job = Job.make(tiny_model, tmp_path / loss, sft={"loss": loss}, evaluation={"samples": []})
        assert job.train() == "completed"
        found.append(events(job, Eval))
    plain, dft = found
    assert dft[0].loss == plain[0].loss
    assert dft[-1].loss < dft[0].loss
    assert dft[-1].perplexity == pytest.approx(np.exp(dft[-1].loss))


def moved(job: Job) -> dict[str, float]:
    """How far each trained tensor has moved in the first step, its largest change."""
    trainer = load_trainer(job.plan.changed(**FP32), job.config, job.model, job.objective)
    assert isinstance(trainer, TorchTrainer)
    before = {name: value.detach().clone() for name, value in trainer.trained.items()}
    batch = batch_of_rows(ROWS)
    trainer.step([batch], job.objective.normaliser([batch]), 1e-3, 0, lambda: None)
    return {name: float((value - before[name]).abs().max()) for name, value in trainer.trained.items()}


def test_lora_plus_moves_b_faster_than_a(tiny_model: Path, tmp_path: Path) -> None:
    """AdamW's first step is as long as its rate."""
    training = {"lora_plus_ratio": 16, "weight_decay": 0.0}
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0}, training=training)
    steps = moved(job)
    assert all(
        length == pytest.approx(16e-3, rel=1e-2) for name, length in steps.items() if ".lora_B." in name
    )
    assert all(length < 1.1e-3 for name, length in steps.items() if ".lora_A." in name)


def test_layers_learn_more_slowly_the_further_in_front_they_are(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(
        tiny_model, tmp_path, adapter={"type": "none"}, training={"layer_decay": 0.5, "weight_decay": 0.0}
    )
    lengths = moved(job)
    last = max(int(name.split(".layers.")[1].split(".")[0]) for name in lengths if ".layers." in name)
    for name, length in lengths.items():
        if ".layers." in name:
            layer = int(name.split(".layers.")[1].split(".")[0])
            assert length == pytest.approx(1e-3 * 0.5 ** (last - layer), rel=2e-2), name
    assert lengths["model.norm.weight"] == pytest.approx(1e-3, rel=2e-2)
    assert lengths["model.embed_tokens.weight"] == pytest.approx(1e-3 * 0.5 ** (last + 1), rel=2e-2)


def test_plain_recipes_have_one_rate(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path)
    assert rate_factors(job.config, ["model.layers.0.q_proj.lora_B.default.weight", "lm_head.weight"]) == {}


def test_noise_is_as_long_as_its_own_row_says() -> None:
    """Packed rows get the noise of their own length, and evaluation gets none."""
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(10, 16)
    torch.nn.init.zeros_(embedding.weight)
    noise = Neftune(embedding, alpha=5.0)
    for packed in (True, False):
        batch = batch_of_rows([[1] * 25, [2] * 4], packed=packed)
        rows = rows_of(batch)
        noise.lay(rows, torch.from_numpy(batch.lengths))
        given = (
            embedding(torch.from_numpy(rows.ids.astype(np.int64))).detach().flatten(0, 1)[rows.places].abs()
        )
        for part, length in ((given[:25], 25), (given[25:], 4)):
            bound = 5.0 / (length * 16) ** 0.5
            assert 0.9 * bound < float(part.max()) <= bound
    embedding.eval()
    assert not embedding(torch.tensor([[1, 2]])).any()
    embedding.train()
    with torch.no_grad():
        assert not embedding(torch.tensor([[1, 2]])).any()


def test_noisy_run_resumes_to_the_same_bytes(tiny_model: Path, tmp_path: Path) -> None:
    results, losses = [], []
    for name, stops in (("whole", False), ("parts", True), ("quiet", False)):
        (tmp_path / name).mkdir()
        training = {"neftune_alpha": 0.0 if name == "quiet" else 5.0, "lora_plus_ratio": 4}
        job = Job.make(tiny_model, tmp_path / name, training=training, evaluation={"samples": []})
        if stops:
            assert job.train(StopAtPoll(job.run, 12)) == "stopped"
        job.train(resume_from=checkpoints.latest(job.run.folder) if stops else None)
        results.append((job.run.folder / WEIGHTS).read_bytes())
        losses.append(events(job, Step)[-1].loss)
    assert results[0] == results[1]
    assert results[0] != results[2]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("key", ["lora_plus_ratio: 16", "layer_decay: 0.9", "neftune_alpha: 5"])
def test_mlx_refuses_what_it_does_not_do(tiny_model: Path, key: str) -> None:
    text = f"model: {{base: starter}}\ndata: {{train: starter}}\nbackend: mlx\ntraining: {{{key}}}\n"
    config = load_text(text, Path("/recipes/train.yml")).config
    with pytest.raises(ConfigError, match=key.partition(":")[0]):
        choose_backend(probe(), config, shape_of(tiny_model))


def test_lora_plus_without_lora_is_refused() -> None:
    text = "model: {base: starter}\ndata: {train: starter}\nadapter: {type: ia3}\ntraining: {lora_plus_ratio: 16}\n"
    with pytest.raises(RecipeError, match="has no matrices A and B"):
        load_text(text, Path("/recipes/train.yml"))
