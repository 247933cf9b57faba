"""The Unsloth backend on a real tiny model: torch's losses, PEFT's adapter, and the loop's own promises."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from engine.backends.base import Interrupted
from engine.backends.unsloth.causal_lm import UnslothModel
from engine.config.load import load_text
from engine.errors import ConfigError, ModelError
from engine.hardware.gpu import Gpu
from engine.hardware.probe import probe
from engine.planning.backend_choice import choose_backend
from tests.tiny import change_model
from tests.training import Job, batch_of, interrupt_at_second, recipe_text, train_step, write_rows

ROWS = [[3, 40, 50, 60, 70, 80], [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]]
BATCHES = [batch_of(ROWS[:1], packed=False), batch_of(ROWS[1:], packed=False)]
FP32 = {"weights_dtype": "fp32", "compute_dtype": "fp32"}


def quiet() -> None:
    """A poll with nothing to say."""


@pytest.fixture
def job(tiny_model: Path, tmp_path: Path) -> Job:
    return Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0})


def curve(job: Job, steps: int, backend: str) -> tuple[list[float], Any]:
    """Losses a token of each step, and the backend that made them."""
    loaded = job.backend(backend=backend, **FP32)
    results = [train_step(loaded, BATCHES, 5e-3, step, quiet) for step in range(steps)]
    return [result.loss for result in results], loaded


def test_loss_curve_matches_torch_backend(job: Job) -> None:
    ours, unsloth = curve(job, 50, "unsloth")
    theirs, torch_backend = curve(job, 50, "peft")
    assert isinstance(unsloth, UnslothModel)
    assert not isinstance(torch_backend, UnslothModel)
    assert ours[-1] < ours[0] - 0.5
    assert np.allclose(ours, theirs, rtol=1e-3)
    for batch in BATCHES:
        assert unsloth.evaluate(batch).loss == pytest.approx(torch_backend.evaluate(batch).loss, rel=1e-3)


@pytest.mark.parametrize("rslora", [False, True])
def test_adapter_answers_the_same_in_peft(tiny_model: Path, tmp_path: Path, rslora: bool) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0, "rslora": rslora})
    _, backend = curve(job, 5, "unsloth")
    backend.save_weights(tmp_path / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    plain = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    expected = []
    with torch.no_grad():
        for row in ROWS:
            logits = plain(torch.tensor([row])).logits[0].log_softmax(-1)
            expected += [float(logits[i - 1, row[i]]) for i in range(1, len(row))]
    assert np.allclose(backend.model.logps(batch_of(ROWS, packed=False)), expected, atol=1e-4)
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def test_torch_adapter_continues_in_unsloth(job: Job, tmp_path: Path) -> None:
    _, trained = curve(job, 5, "peft")
    trained.save_weights(tmp_path / "adapter")
    plan = job.plan.changed(backend="unsloth")
    loaded = UnslothModel.load(plan, job.config, job.model, adapter=tmp_path / "adapter")
    assert loaded.evaluate(BATCHES[0]).loss == pytest.approx(trained.evaluate(BATCHES[0]).loss, rel=1e-4)


@pytest.mark.parametrize(
    ("weights", "config", "told"),
    [
        (lambda tensors: tensors, {"tie_word_embeddings": False}, r"lm_head.weight"),
        (lambda tensors: {f"_orig_mod.{k}": v for k, v in tensors.items()}, {}, "_orig_mod"),
        (lambda tensors: {k: v for k, v in tensors.items() if ".layers.1." not in k}, {}, "model.layers.1"),
        (lambda tensors: tensors | {"foreign.weight": torch.zeros(3)}, {}, "foreign.weight"),
        (lambda tensors: {k: v * float("nan") for k, v in tensors.items()}, {}, "NaN or infinity"),
    ],
    ids=["no head", "compiled", "a layer less", "a foreign one", "no numbers"],
)
def test_foreign_weights_are_refused_by_name(
    weights: Any, config: dict[str, Any], told: str, job: Job, tmp_path: Path
) -> None:
    job.model = change_model(job.model, tmp_path / "broken", weights, **config)
    with pytest.raises(ModelError, match=told):
        job.backend(backend="unsloth", **FP32)


def test_an_adapter_of_another_model_is_refused(job: Job, tmp_path: Path) -> None:
    _, trained = curve(job, 1, "unsloth")
    trained.save_weights(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    plan = job.plan.changed(backend="unsloth")
    for change in (
        {name: value for name, value in tensors.items() if ".layers.1." not in name},
        {name: torch.cat([value, value], 1) for name, value in tensors.items()},
    ):
        save_file(change, file)
        with pytest.raises(ModelError, match=r"adapter.*(missing|shape|size mismatch)"):
            UnslothModel.load(plan, job.config, job.model, adapter=tmp_path / "adapter")


def test_packed_examples_count_as_they_do_alone(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, data={"packing": True}, adapter={"dropout": 0.0})
    backend = job.backend(backend="unsloth", **FP32)
    assert backend.model.supports_packing
    packed = backend.model.logps(batch_of(ROWS, packed=True))
    assert np.allclose(packed, backend.model.logps(batch_of(ROWS, packed=False)), atol=1e-4)


def test_accumulated_micro_batches_equal_one_batch(job: Job) -> None:
    results = []
    for batches in ([batch_of(ROWS, packed=False)], BATCHES):
        backend = job.backend(backend="unsloth", **FP32)
        results.append((train_step(backend, batches, 1e-2, 0, quiet), backend.trained))
    (one, whole), (two, parts) = results
    assert one.loss_sum == pytest.approx(two.loss_sum, rel=1e-5)
    assert one.grad_norm == pytest.approx(two.grad_norm, rel=1e-4)
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=1e-3, atol=1e-5)


def test_checkpointing_changes_nothing_but_memory(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.2})
    weights = []
    for checkpointing in (False, True):
        backend = job.backend(backend="unsloth", gradient_checkpointing=checkpointing, **FP32)
        assert backend.model.causal.is_gradient_checkpointing == checkpointing
        train_step(backend, BATCHES, 1e-2, 7, quiet)
        weights.append({name: p.detach().clone() for name, p in backend.trained.items()})
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("quantization", "compute"), [("none", "bf16"), ("4bit", "fp32")], ids=["bf16", "4bit"]
)
def test_every_format_learns(tiny_model: Path, tmp_path: Path, quantization: str, compute: str) -> None:
    job = Job.make(tiny_model, tmp_path, model={"quantization": quantization})
    backend = job.backend(backend="unsloth", weights_dtype=compute, compute_dtype=compute)
    held = {type(module).__name__ for module in backend.model.network.modules()}
    assert ("Linear4bit" in held) == (quantization == "4bit")
    losses = []
    for step in range(12):
        result = train_step(backend, BATCHES, 5e-3, step, quiet)
        losses.append(result.loss)
        backend.evaluate(BATCHES[0])  # looking in between must not spoil the weights
    assert losses[-1] < losses[0] - 0.1
    assert all(p.dtype == torch.float32 for p in backend.trained.values()), "masters keep fp32"


def test_seed_fixes_dropout_in_spite_of_answers(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.5})
    results = []
    for seed, disturb in ((1, False), (1, True), (2, False)):
        backend = job.backend(backend="unsloth", gradient_checkpointing=True, **FP32)
        if disturb:
            torch.manual_seed(99)
            assert len(backend.model.generate([[3, 4]], 2, {2}, quiet)[0]) <= 2
        results.append(train_step(backend, BATCHES, 1e-2, seed, quiet))
    assert results[0] == results[1]
    assert results[0].grad_norm != results[2].grad_norm


def test_answers_are_those_of_the_torch_backend(job: Job) -> None:
    unsloth, torch_backend = (job.backend(backend=name, **FP32) for name in ("unsloth", "peft"))
    prompts = [[3, 40, 50], [3, 91]]
    assert unsloth.model.generate(prompts, 6, {2}, quiet) == torch_backend.model.generate(
        prompts, 6, {2}, quiet
    )


def test_an_interrupted_step_leaves_the_weights_alone(job: Job) -> None:
    backend = job.backend(backend="unsloth")
    before = {name: p.detach().clone() for name, p in backend.trained.items()}
    with pytest.raises(Interrupted):
        train_step(backend, BATCHES, 1e-2, 0, interrupt_at_second())
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in backend.trained.items())


def test_the_state_comes_back_to_the_bit(job: Job, tmp_path: Path) -> None:
    first = job.backend(backend="unsloth", **FP32)
    train_step(first, BATCHES, 1e-2, 0, quiet)
    first.save_state(tmp_path)
    second = job.backend(backend="unsloth", **FP32)
    second.load_state(tmp_path)
    for backend in (first, second):
        train_step(backend, BATCHES, 1e-2, 1, quiet)
        backend.save_weights(tmp_path / str(id(backend)))
    one, two = (load_file(tmp_path / str(id(b)) / "adapter_model.safetensors") for b in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_layer_that_is_not_there_is_named(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"target_modules": ["q_proj"]})
    adapter = job.config.adapter.model_copy(update={"target_modules": ["no_proj"]})
    job.config = job.config.model_copy(update={"adapter": adapter})
    with pytest.raises(ConfigError, match=r"adapter\.target_modules: .*no_proj"):
        job.backend(backend="unsloth", **FP32)


def test_unsupported_recipe_is_refused_before_loading(tiny_model: Path, tmp_path: Path) -> None:
    write_rows(tmp_path)
    for key, sections in {
        "adapter.type": {"adapter": {"type": "none"}},
        "model.quantization": {"model": {"quantization": "8bit"}},
    }.items():
        text = json.loads(recipe_text(tiny_model, tmp_path / "rows.jsonl", **sections))
        config = load_text(json.dumps(text | {"backend": "unsloth"}), tmp_path / "train.yml").config
        with pytest.raises(ConfigError, match=key):
            choose_backend(probe(), config)


def test_auto_leaves_unsloth_to_nvidia_gpus(tiny_model: Path, tmp_path: Path) -> None:
    config = load_text(recipe_text(tiny_model, write_rows(tmp_path)), tmp_path / "train.yml").config
    machine = replace(probe(), packages=probe().packages | {"unsloth": "2026.10.9"})
    assert choose_backend(machine, config).backend == "peft"
    card = replace(machine, device="cuda", gpus=(Gpu("NVIDIA GeForce RTX 4090", 24 << 30, 23 << 30, (8, 9)),))
    assert choose_backend(card, config).backend == "unsloth"
