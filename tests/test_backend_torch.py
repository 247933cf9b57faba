"""The torch backend on a real tiny model: the same losses and gradients as transformers and PEFT, in every format."""

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from engine.backends.base import Interrupted
from tests.training import Job, batch_of, interrupt_at_second, train_step

ROWS = [[3, 40, 50, 60, 70, 80], [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]]
BATCHES = [batch_of(ROWS[:1], packed=False), batch_of(ROWS[1:], packed=False)]


def quiet() -> None:
    """A poll with nothing to say."""


@pytest.fixture
def job(tiny_model: Path, tmp_path: Path) -> Job:
    return Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0})


@torch.no_grad()
def reference_losses(model: Any, rows: list[list[int]]) -> list[float]:
    """Log-probabilities of all tokens but the first, by transformers' own forward."""
    values = []
    for row in rows:
        logits = model(torch.tensor([row])).logits[0].float().log_softmax(-1)
        values += [float(logits[i - 1, row[i]]) for i in range(1, len(row))]
    return values


@pytest.mark.parametrize("packed", [True, False])
def test_losses_match_transformers(job: Job, packed: bool) -> None:
    backend = job.backend(weights_dtype="fp32", compute_dtype="fp32")
    plain = transformers.AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    got = backend.model.logps(batch_of(ROWS, packed))
    assert np.allclose(got, reference_losses(plain, ROWS), atol=1e-4)


def test_gradients_match_peft(job: Job) -> None:
    backend = job.backend(weights_dtype="fp32", compute_dtype="fp32")
    with torch.no_grad():
        for name, parameter in backend.trained.items():
            if "lora_B" in name:
                parameter.normal_(0, 0.02)
    job.run.adapter.mkdir()
    backend.save_weights(job.run.adapter)
    base = transformers.AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    plain = peft.PeftModel.from_pretrained(base, str(job.run.adapter), is_trainable=True)
    loss = sum(
        plain(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss * (len(row) - 1) for row in ROWS
    )
    loss.backward()
    backend.model.summed_loss(batch_of(ROWS, packed=True)).backward()
    expected = {name: p.grad for name, p in plain.named_parameters() if p.requires_grad}
    assert expected.keys() == backend.trained.keys()
    for name, parameter in backend.trained.items():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-5)


def test_accumulated_micro_batches_match_one_batch(job: Job) -> None:
    results = []
    for batches in ([batch_of(ROWS, packed=True)], BATCHES):
        backend = job.backend(weights_dtype="fp32", compute_dtype="fp32")
        results.append((train_step(backend, batches, 1e-2, 0, quiet), backend.trained))
    (one, whole), (two, parts) = results
    assert one.loss_sum == pytest.approx(two.loss_sum, rel=1e-5)
    assert one.grad_norm == pytest.approx(two.grad_norm, rel=1e-4)
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=1e-3, atol=1e-5)


FORMATS = {
    "bf16 weights, fp32 products": ({}, {"weights_dtype": "bf16", "compute_dtype": "fp32"}),
    "bf16": ({}, {"weights_dtype": "bf16", "compute_dtype": "bf16"}),
    "fp16": ({}, {"weights_dtype": "fp16", "compute_dtype": "fp16"}),
    "checkpointing": ({}, {"gradient_checkpointing": True}),
    "8bit": ({"model": {"quantization": "8bit"}}, {}),
    "nf4": ({"model": {"quantization": "4bit"}}, {}),
    "nf4, single": ({"model": {"quantization": "4bit", "double_quant": False}}, {}),
    "fp4": ({"model": {"quantization": "4bit", "quant_type": "fp4"}}, {}),
    "full": ({"adapter": {"type": "none"}}, {"weights_dtype": "fp32", "compute_dtype": "fp32"}),
    "full, bf16 products": (
        {"adapter": {"type": "none"}},
        {"weights_dtype": "fp32", "compute_dtype": "bf16"},
    ),
    "two targets": ({"adapter": {"target_modules": ["q_proj", "v_proj"]}}, {}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_weight_format_learns(tiny_model: Path, tmp_path: Path, name: str) -> None:
    sections, changes = FORMATS[name]
    backend = Job.make(tiny_model, tmp_path, **sections).backend(**changes)
    losses = []
    for step in range(12):
        result = train_step(backend, BATCHES, 5e-3, step, quiet)
        losses.append(result.loss)
        assert np.isfinite(result.grad_norm)
    assert losses[-1] < losses[0] - 0.1
    assert all(p.dtype == torch.float32 for p in backend.trained.values()), "masters keep fp32"


def test_quantised_weights_match_bitsandbytes(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, model={"quantization": "4bit"}, adapter={"dropout": 0.0})
    backend = job.backend(compute_dtype="fp32")
    ours = backend.model.logps(batch_of(ROWS, packed=False))
    settings = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    plain = transformers.AutoModelForCausalLM.from_pretrained(
        job.model, quantization_config=settings, dtype=torch.float32, device_map={"": "cpu"}
    )
    assert np.allclose(ours, reference_losses(plain, ROWS), atol=2e-2)


def test_gradient_checkpointing_changes_only_memory(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.2})
    weights = []
    for checkpointing in (False, True):
        backend = job.backend(gradient_checkpointing=checkpointing)
        train_step(backend, BATCHES, 1e-2, 7, quiet)
        weights.append({name: p.detach().clone() for name, p in backend.trained.items()})
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-5, atol=1e-7)


def test_only_the_seed_determines_dropout(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.5})
    results = []
    for seed, disturb in ((1, False), (1, True), (2, False)):
        backend = job.backend()
        if disturb:
            torch.manual_seed(99)
            backend.evaluate(BATCHES[0])
            backend.model.generate([[3, 4]], 2, {2}, quiet)
        results.append(train_step(backend, BATCHES, 1e-2, seed, quiet))
    assert results[0] == results[1]
    assert results[0].grad_norm != results[2].grad_norm


def test_interrupted_step_leaves_weights_alone(job: Job) -> None:
    backend = job.backend()
    before = {name: p.detach().clone() for name, p in backend.trained.items()}
    with pytest.raises(Interrupted):
        train_step(backend, BATCHES, 1e-2, 0, interrupt_at_second())
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in backend.trained.items())


def test_adapter_answers_the_same_in_peft(job: Job, tmp_path: Path) -> None:
    backend = job.backend(weights_dtype="fp32", compute_dtype="fp32")
    for step in range(5):
        train_step(backend, BATCHES, 1e-2, step, quiet)
    backend.save_weights(tmp_path / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    plain = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    got = backend.model.logps(batch_of(ROWS, packed=True))
    assert np.allclose(got, reference_losses(plain, ROWS), atol=1e-4)
    assert {p.name for p in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def test_fully_trained_model_is_model_folder(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"type": "none"})
    backend = job.backend()
    train_step(backend, BATCHES, 1e-3, 0, quiet)
    backend.save_weights(tmp_path / "model")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    got = backend.model.logps(batch_of(ROWS, packed=False))
    assert np.allclose(got, reference_losses(plain, ROWS), atol=2e-2)


@pytest.mark.parametrize("compute", ["fp32", "bf16", "fp16"])
def test_fully_trained_model_answers_while_training(tiny_model: Path, tmp_path: Path, compute: str) -> None:
    backend = Job.make(tiny_model, tmp_path, adapter={"type": "none"}).backend(compute_dtype=compute)
    train_step(backend, BATCHES, 1e-3, 0, quiet)
    (answer,) = backend.model.generate([ROWS[0][:3]], 4, set(), quiet)
    assert len(answer) == 4


def test_generation_copies_no_head_per_prompt(job: Job) -> None:
    """Of an input that lies in pieces, torch's product copies the weights once a row: 0.9 GB for 16 and the starter."""
    backend = job.backend()
    whole: list[bool] = []
    head = backend.model.causal.get_output_embeddings()
    head.register_forward_hook(lambda module, inputs, output: whole.append(inputs[0].is_contiguous()))
    backend.model.generate([ROWS[0][:3], ROWS[1][:3]], 3, set(), quiet)
    assert whole == [True] * 3


def test_training_state_comes_back_bitwise(job: Job, tmp_path: Path) -> None:
    first = job.backend()
    train_step(first, BATCHES, 1e-2, 0, quiet)
    first.save_state(tmp_path)
    second = job.backend()
    second.load_state(tmp_path)
    for backend in (first, second):
        train_step(backend, BATCHES, 1e-2, 1, quiet)
        backend.save_weights(tmp_path / str(id(backend)))
    one, two = (load_file(tmp_path / str(id(b)) / "adapter_model.safetensors") for b in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_padding_replaces_packing_where_examples_mix(tiny_model: Path, tmp_path: Path) -> None:
    config = transformers.MambaConfig(
        vocab_size=384, hidden_size=32, num_hidden_layers=2, state_size=8, eos_token_id=2
    )
    torch.manual_seed(0)
    # Its state runs on through a row.
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    job = Job.make(tiny_model, tmp_path, data={"packing": True}, adapter={"type": "none"})
    assert job.backend().model.supports_packing
    job.model = tmp_path / "mamba"
    assert not job.backend().model.supports_packing


def test_nan_gradient_leaves_weights_alone(job: Job) -> None:
    backend = job.backend()
    first = next(iter(backend.trained.values()))
    handle = first.register_hook(lambda gradient: gradient * float("nan"))
    before = {name: p.detach().clone() for name, p in backend.trained.items()}
    assert np.isnan(train_step(backend, BATCHES, 1e-2, 0, quiet).grad_norm)
    assert all(torch.equal(before[name], p) for name, p in backend.trained.items())
    handle.remove()
    assert np.isfinite(train_step(backend, BATCHES, 1e-2, 1, quiet).grad_norm)
