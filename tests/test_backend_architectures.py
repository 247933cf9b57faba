"""Models of other families train as transformers and PEFT train them, whatever form their layers take here."""

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

from engine.backends import load_trainer
from engine.models.adapters import trained_parameters
from engine.models.sizing import shape_of
from tests.tiny import make_family
from tests.training import Job, batch_of, train_step

ROWS = [list(range(3, 23)), [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]]
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "mistral, a window shorter than a row": ("Mistral", {"sliding_window": 8}),
    "qwen2, biased": ("Qwen2", {}),
    "qwen3, normed queries": ("Qwen3", {"head_dim": 16}),
    "gemma2, other norms and a soft cap": (
        "Gemma2",
        {"head_dim": 16, "sliding_window": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.0},
    ),
    "gemma3, local and global layers": ("Gemma3Text", {"head_dim": 16, "sliding_window": 8}),
    "phi3, fused": ("Phi3", {"pad_token_id": 0}),
    "smollm3, with and without rotation": ("SmolLM3", {"pad_token_id": 0, "no_rope_layers": [1, 0]}),
    "gpt2, matrices the other way round": (
        "GPT2",
        {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    ),
    "qwen3 moe, a dense layer and one of experts": (
        "Qwen3Moe",
        {
            "head_dim": 16,
            "moe_intermediate_size": 16,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "mlp_only_layers": [0],
        },
    ),
    "mixtral, experts": ("Mixtral", {"num_local_experts": 4}),
}
WHOLE = {
    "llama": 2,
    "mistral, a window shorter than a row": 2,
    "qwen2, biased": 2,
    "smollm3, with and without rotation": 1,
}
"""Number of layers that run as `engine.backends.torch.block`."""


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> tuple[str, Path]:
    """A tiny model of a family with random weights, beside the tiny tokenizer."""
    return request.param, make_family(tmp_path / "model", tiny_model, *FAMILIES[request.param])


@pytest.mark.parametrize("packed", [True, False])
def test_model_family_trains_as_in_peft(family: tuple[str, Path], tmp_path: Path, packed: bool) -> None:
    name, folder = family
    job = Job.make(folder, tmp_path, adapter={"dropout": 0.0})
    backend = job.backend(weights_dtype="fp32", compute_dtype="fp32")
    with torch.no_grad():
        for key, parameter in backend.trained.items():
            if "lora_B" in key:
                parameter.normal_(0, 0.05)
    job.run.adapter.mkdir()
    backend.save_weights(job.run.adapter)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    plain = peft.PeftModel.from_pretrained(base, str(job.run.adapter), is_trainable=True)
    loss = sum(
        plain(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss * (len(row) - 1) for row in ROWS
    )
    loss.backward()
    assert backend.model.supports_packing
    ours = backend.model.summed_loss(batch_of(ROWS, packed=packed))
    assert ours.item() == pytest.approx(loss.item(), rel=1e-4)
    ours.backward()
    expected = {key: p.grad for key, p in plain.named_parameters() if p.requires_grad}
    for key, parameter in backend.trained.items():
        torch.testing.assert_close(parameter.grad, expected[key], rtol=1e-3, atol=1e-4)
    layers = backend.model.body.h if name.startswith("gpt2") else backend.model.body.layers
    assert sum("forward" in vars(layer) for layer in layers) == WHOLE.get(name, 0)


def test_model_family_answers_as_in_transformers(family: tuple[str, Path], tmp_path: Path) -> None:
    _, folder = family
    backend = Job.make(folder, tmp_path).backend(weights_dtype="fp32", compute_dtype="fp32")
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = ROWS[0][:6]
    expected = base.generate(
        torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=2, pad_token_id=2
    )
    (got,) = backend.model.generate([prompt], 8, {2}, lambda: None)
    wanted = [token for token in expected[0, 6:].tolist() if token != 2]
    assert np.array_equal(got, wanted)


def test_model_family_learns_as_planned(family: tuple[str, Path], tmp_path: Path) -> None:
    _, folder = family
    job = Job.make(folder, tmp_path)
    backend = job.backend()
    adapter = sum(parameter.numel() for parameter in backend.trained.values())
    assert trained_parameters(shape_of(folder), job.config.adapter) == adapter
    assert not any("expert" in key for key in backend.trained), "experts only by name"
    batch = batch_of(ROWS, packed=backend.model.supports_packing)
    losses = [train_step(backend, [batch], 2e-2, step, lambda: None).loss_sum for step in range(5)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("qwen3 moe, a dense layer and one of experts", ["q_proj", "gate_proj", "up_proj", "down_proj"]),
        ("mixtral, experts", ["w1", "w2", "w3"]),
    ],
    indirect=["family"],
)
def test_named_experts_learn_with_adapter(
    family: tuple[str, Path], targets: list[str], tmp_path: Path
) -> None:
    _, folder = family
    job = Job.make(folder, tmp_path, adapter={"target_modules": targets, "dropout": 0.0})
    backend = job.backend(weights_dtype="fp32", compute_dtype="fp32")
    adapter = sum(parameter.numel() for parameter in backend.trained.values())
    assert trained_parameters(shape_of(folder), job.config.adapter) == adapter
    assert any(".experts." in key for key in backend.trained)
    batch = batch_of(ROWS, packed=False)
    losses = [train_step(backend, [batch], 1e-2, step, lambda: None).loss_sum for step in range(5)]
    assert losses[-1] < losses[0]
    backend.save_weights(tmp_path / "adapter")
    again = load_trainer(job.plan, job.config, folder, adapter=tmp_path / "adapter")
    assert np.allclose(backend.model.logps(batch).tolist(), again.model.logps(batch).tolist(), atol=1e-4)


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("backend", ["peft", "mlx"])
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Gemma2", {"head_dim": 16, "final_logit_softcapping": 1.0}),
        ("Gemma2", {"head_dim": 16, "final_logit_softcapping": 30.0}),
        ("Granite", {"logits_scaling": 1.1}),
    ],
    ids=["capped", "capped where it hardly shows", "scaled a little"],
)
def test_special_head_is_found_in_half_precision(
    family: str, settings: dict[str, Any], backend: str, compute: str, tiny_model: Path, tmp_path: Path
) -> None:
    """A trial that compares losses would pass: where the model knows little, they are near log(vocabulary) anyway."""
    folder = make_family(tmp_path / "model", tiny_model, family, settings)
    job = Job.make(folder, tmp_path)
    plan = job.plan.changed(backend=backend, weights_dtype=compute, compute_dtype=compute)
    assert not load_trainer(plan, job.config, folder).model.plain_head
    plain = load_trainer(plan, job.config, tiny_model)
    assert plain.model.plain_head
