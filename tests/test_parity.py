"""One recipe, two backends, the same run: MLX and torch agree in fp32 from the same start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import peft
import pytest
import torch
import transformers

from engine.backends import load_trainer
from engine.backends.base import Trainer
from engine.data.batching import Cut, micro_batches
from engine.data.prepare import prepare
from engine.models.adapters import trained_parameters
from engine.models.sizing import shape_of
from engine.runs.directory.events import Step
from tests.tiny import make_family
from tests.training import Job, batch_of, train_step

STEPS = 50
ROWS = [list(range(3, 23)), [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]]
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"rope_theta": 500.0}),
    "llama, scaled rotation": (
        "Llama",
        {
            "rope_scaling": {
                "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
            }
        },
    ),
    "mistral, a window shorter than a row": ("Mistral", {"sliding_window": 8}),
    "qwen3, normed queries": ("Qwen3", {"head_dim": 16}),
    "gemma2, every other layer slides": (
        "Gemma2",
        {
            "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 1.0,
        },
    ),
    "gemma3, local and global layers": (
        "Gemma3Text",
        {
            "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16, "sliding_window_pattern": 2,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "phi3, fused, with a window": ("Phi3", {"pad_token_id": 0, "sliding_window": 8}),
    "gpt2, learned positions": ("GPT2", {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    "smollm3, with and without rotation": ("SmolLM3", {"pad_token_id": 0, "no_rope_layers": [1, 0]}),
    "qwen3 moe, a dense layer and one of experts": (
        "Qwen3Moe",
        {
            "head_dim": 16, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2,
            "mlp_only_layers": [0], "norm_topk_prob": True,
        },
    ),
    "mixtral, experts": ("Mixtral", {"num_local_experts": 4}),
}  # fmt: skip
PADDED_ONLY = ("gpt2, learned positions",)
"""A position learned by heart cannot start again within a row."""


def both(job: Job, folder: Path | None = None, **changes: Any) -> tuple[Any, Any]:
    """The torch and the MLX backend of a job in fp32, packing where the model allows it."""
    plan = job.plan.changed(weights_dtype="fp32", compute_dtype="fp32", packing=True, **changes)
    torch_side = load_trainer(plan, job.config, folder or job.model)
    return torch_side, load_trainer(plan.changed(backend="mlx"), job.config, folder or job.model)


def test_loss_curves_agree_over_fifty_steps(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0})
    examples = prepare(job.config, job.model).train
    curves: list[list[float]] = []
    finals = []
    for backend in both(job):
        losses = []
        for step in range(STEPS):
            indexes = [(4 * step + i) % len(examples) for i in range(4)]
            batches = micro_batches(examples, indexes, Cut(2, 512, bool(step % 2)), 0)
            result = train_step(backend, batches, 5e-3, step, lambda: None)
            losses.append(result.loss)
        curves.append(losses)
        everything = micro_batches(examples, range(len(examples)), Cut(32, 4096, packing=False), 0)
        finals.append([backend.evaluate(batch).loss for batch in everything])
    assert np.allclose(curves[0], curves[1], rtol=1e-3, atol=0)
    assert curves[0][-1] < curves[0][0] - 1
    for one, other in zip(*finals, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_packing_auto_gives_backends_same_rows(tiny_model: Path, tmp_path: Path) -> None:
    """They are the same in every step."""
    told = {}
    for backend in ("peft", "mlx"):
        (tmp_path / backend).mkdir()
        job = Job.make(
            tiny_model, tmp_path / backend, backend=backend, adapter={"dropout": 0.0},
            training={"precision": "fp32", "batch_size": "auto"}, evaluation={"samples": []},
        )  # fmt: skip
        assert job.train() == "completed"
        told[backend] = job.plan.packing, [e for e in job.run.events() if isinstance(e, Step)]
    (packed, ours), (padded, theirs) = told["peft"], told["mlx"]
    assert packed
    assert not padded
    assert [step.tokens for step in ours] == [step.tokens for step in theirs]
    assert [step.loss for step in ours] == pytest.approx([step.loss for step in theirs], rel=1e-3)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> tuple[str, Path]:
    """A tiny model of a family with random weights, beside the tiny tokenizer."""
    return request.param, make_family(tmp_path / "model", tiny_model, *FAMILIES[request.param])


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """Without mx.compile, which calls the C++ compiler once for every new shape of a model's code."""
    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.mark.usefixtures("uncompiled")
def test_model_family_trains_alike_on_backends(family: tuple[str, Path], tmp_path: Path) -> None:
    """It answers alike too."""
    name, folder = family
    job = Job.make(folder, tmp_path, adapter={"dropout": 0.0})
    ours, theirs = both(job)[::-1]
    assert ours.model.supports_packing == (name not in PADDED_ONLY)
    adapter = sum(value.size for value in ours.trained.values())
    assert adapter == trained_parameters(shape_of(folder), job.config.adapter)
    assert adapter == sum(value.numel() for value in theirs.trained.values())
    for step, packed in enumerate(
        (False, ours.model.supports_packing and theirs.model.supports_packing, False, False)
    ):
        batch = [batch_of(ROWS, packed)]
        one, other = (train_step(backend, batch, 1e-2, step, lambda: None) for backend in (ours, theirs))
        assert one.loss_sum == pytest.approx(other.loss_sum, rel=1e-3)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-2)
    prompts = [ROWS[0][:12], ROWS[1][:5]]
    assert ours.model.generate(prompts, 8, {2}, lambda: None) == theirs.model.generate(
        prompts, 8, {2}, lambda: None
    )
    wanted = log_probabilities_in_peft(ours, folder, tmp_path / "adapter")
    assert np.allclose(ours.model.logps(batch_of(ROWS, packed=False)), wanted, atol=1e-3)


@torch.no_grad()
def log_probabilities_in_peft(backend: Trainer, folder: Path, adapter: Path) -> list[float]:
    """Log-probabilities of `ROWS` by transformers and PEFT, with the adapter that the backend saves."""
    backend.save_weights(adapter)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    model = peft.PeftModel.from_pretrained(base, str(adapter)).eval()
    values = []
    for row in ROWS:
        logits = model(torch.tensor([row])).logits[0].log_softmax(-1)
        values += [float(logits[i - 1, row[i]]) for i in range(1, len(row))]
    return values


@pytest.mark.parametrize("trained_by", ["torch", "mlx"])
def test_adapter_of_one_backend_continues_on_other(tiny_model: Path, tmp_path: Path, trained_by: str) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0})
    sides = both(job)
    source = sides[trained_by == "mlx"]
    batches = [batch_of(ROWS, packed=True)]
    for step in range(5):
        train_step(source, batches, 1e-2, step, lambda: None)
    source.save_weights(tmp_path / "adapter")
    name = "peft" if trained_by == "mlx" else "mlx"
    plan = job.plan.changed(backend=name, weights_dtype="fp32", compute_dtype="fp32", packing=True)
    other = load_trainer(plan, job.config, job.model, adapter=tmp_path / "adapter")
    assert np.allclose(
        other.model.logps(batches[0]).tolist(), source.model.logps(batches[0]).tolist(), atol=1e-4
    )
    one, two = (train_step(backend, batches, 1e-2, 9, lambda: None) for backend in (source, other))
    assert one.loss_sum == pytest.approx(two.loss_sum, rel=1e-4)
    other.save_weights(tmp_path / "again")
    names = {path.name for path in (tmp_path / "again").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
