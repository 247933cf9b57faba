"""`all-linear` means the language model's layers: nothing that sees, and no router of a mixture."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from engine.backends import load_trainer
from engine.models.adapters import trained_parameters
from engine.models.sizing import shape_of
from tests.tiny import VOCAB, make_family, make_seeing
from tests.training import Job, batch_of, train_step

BATCH = batch_of([[3, 40, 50, 60, 70, 80]], packed=False)


@pytest.fixture
def seeing(tiny_model: Path, tmp_path: Path) -> Path:
    """A tiny Gemma 3 with a vision tower, whose layers have names of the language model's."""
    return make_seeing(tmp_path / "seeing", tiny_model)


def trained(base: Path, folder: Path, backend: str = "peft", **adapter: Any) -> tuple[Job, Any]:
    job = Job.make(base, folder, adapter={"dropout": 0.0, **adapter})
    plan = job.plan.changed(backend=backend, device="cpu", weights_dtype="fp32", compute_dtype="fp32")
    loaded = load_trainer(plan, job.config, base)
    train_step(loaded, [BATCH], 1e-2, 0, lambda: None)
    loaded.save_weights(folder / "adapter")
    return job, loaded


@pytest.mark.parametrize("backend", ["peft", "mlx"])
def test_vision_tower_gets_no_adapter(backend: str, seeing: Path, tmp_path: Path) -> None:
    job, loaded = trained(seeing, tmp_path, backend)
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 7 * 2  # A and B of seven layers in both blocks
    assert all("language_model" in name for name in tensors)
    planned = trained_parameters(shape_of(seeing), job.config.adapter)
    assert planned == sum(tensor.numel() for tensor in tensors.values())
    base = transformers.AutoModelForCausalLM.from_pretrained(seeing)
    plain = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    ids = torch.tensor([[3, 40, 50, 60, 70, 80]])
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(plain(input_ids=ids).logits[0, :-1].float(), ids[0, 1:])
    assert loaded.evaluate(BATCH).loss / 5 == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Qwen2Moe", {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "num_experts": 4}),
        ("Mixtral", {"num_local_experts": 4}),
    ],
)
@pytest.mark.parametrize("backend", ["peft", "mlx"])
def test_expert_router_gets_no_adapter(
    backend: str, family: str, settings: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    base = make_family(tmp_path / "mixture", tiny_model, family, settings)
    job, _ = trained(base, tmp_path, backend)
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in tensors} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    planned = trained_parameters(shape_of(base), job.config.adapter)
    assert planned == sum(tensor.numel() for tensor in tensors.values())


def test_plan_counts_vision_tower_weights_once(seeing: Path) -> None:
    """The plan takes them as quantised."""
    shape = shape_of(seeing)
    tensors = load_file(seeing / "model.safetensors")
    assert shape.parameters == sum(tensor.numel() for tensor in tensors.values())
    assert {layer.name for layer in shape.linears} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip
    assert shape.tower_weights == 2 * (4 * 32 * 32 + 2 * 32 * 48)
    assert shape.tied


def test_missing_config_sizes_come_from_family(seeing: Path) -> None:
    """As Gemma 3's own files do: what has transformers' default is not written."""
    config = json.loads((seeing / "config.json").read_text())
    for key in ("num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size"):
        del config["text_config"][key]
    (seeing / "config.json").write_text(json.dumps(config))
    shape = shape_of(seeing)
    assert (shape.heads, shape.kv_heads, shape.head_dim, shape.vocab) == (8, 4, 256, VOCAB)


@pytest.mark.parametrize("backend", ["peft", "mlx"])
def test_named_layers_are_of_language_model(backend: str, seeing: Path, tmp_path: Path) -> None:
    trained(seeing, tmp_path, backend, target_modules=["q_proj"])
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 2
    assert all("language_model" in name for name in tensors)


@pytest.mark.slow
def test_run_with_tower_adapter_resumes(seeing: Path, tmp_path: Path) -> None:
    """As runs of earlier versions did, whose adapters have the layers of both."""
    job = Job.make(
        seeing,
        tmp_path,
        adapter={"dropout": 0.0},
        training={"max_steps": 4, "precision": "fp32"},
        evaluation={"every": 9, "samples": []},
        checkpoints={"every": 2, "keep": 9},
        backend="peft",
    )
    now = job.config
    both = ["q_proj", "model.vision_tower.encoder.layers.0.self_attn.q_proj"]
    job.config = now.model_copy(update={"adapter": now.adapter.model_copy(update={"target_modules": both})})
    assert job.train() == "completed"
    whole = load_file(job.run.adapter / "adapter_model.safetensors")
    assert any("vision_tower" in name for name in whole)
    resume = job.run.checkpoints / "step-000002"
    engine = [
        sys.executable,
        "-P",
        "-m",
        "engine.process.worker",
        str(job.run.folder),
        "--resume",
        str(resume),
    ]
    ended = subprocess.run(engine, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    again = load_file(job.run.adapter / "adapter_model.safetensors")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
