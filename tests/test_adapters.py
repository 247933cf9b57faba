"""Every type of adapter: it learns, loads in PEFT unchanged, goes on to the bit, and is as large as the plan says."""

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

from engine.backends import load_backend
from engine.backends.torch.backend import TorchBackend
from engine.config.adapters import ADAPTER_TYPES
from engine.models.adapters import trained_parameters
from engine.models.sizing import shape_of
from tests.training import Job, batch_of

ROWS = [[3, 40, 50, 60, 70, 80], [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]]
BATCH = batch_of(ROWS, packed=False)
LORA: dict[str, Any] = {"rank": 4, "dropout": 0.1}
KINDS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "rslora": LORA | {"rslora": True},
    "gaussian": LORA | {"init": "gaussian"},
    "orthogonal": LORA | {"init": "orthogonal"},
    "olora": LORA | {"init": "olora"},
    "pissa": LORA | {"init": "pissa"},
    "pissa, rslora": LORA | {"init": "pissa", "rslora": True},
    "dora": LORA | {"type": "dora"},
    "dora, pissa": LORA | {"type": "dora", "init": "pissa"},
    "dora, two targets": LORA | {"type": "dora", "target_modules": ["q_proj", "down_proj"]},
    "adalora": LORA | {"type": "adalora"},
    "ia3": {"type": "ia3"},
    "loha": {"type": "loha", "rank": 4},
    "lokr": {"type": "lokr", "rank": 4},
    "lokr, whole": {"type": "lokr", "rank": 64},
    "oft": {"type": "oft", "block_size": 8},
    "boft": {"type": "boft", "dropout": 0.1},
    "vera": {"type": "vera", "dropout": 0.1},
    "prefix": {"type": "prefix", "virtual_tokens": 4},
    "prompt": {"type": "prompt", "virtual_tokens": 4},
    "ptuning": {"type": "ptuning", "virtual_tokens": 4, "encoder_size": 16},
}
STEPS = 12
FP32 = {"weights_dtype": "fp32", "compute_dtype": "fp32", "steps": STEPS}


def job_of(model: Path, folder: Path, kind: str, **sections: dict[str, Any]) -> Job:
    cleared = {"rank": 16, "dropout": 0.0}
    return Job.make(model, folder, adapter=cleared | KINDS[kind], **sections)


def train(backend: TorchBackend, first: int = 0, last: int = STEPS, rate: float = 2e-2) -> list[float]:
    return [backend.train_step([BATCH], rate, seed, lambda: None).loss_sum for seed in range(first, last)]


def plain_peft(model: Path, adapter: Path) -> Any:
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return peft.PeftModel.from_pretrained(base, str(adapter)).eval()


def losses_in_peft(model: Any) -> list[float]:
    """Log-probabilities of all tokens but the first, by PEFT's own forward; virtual tokens may stand in front."""
    values = []
    for row in ROWS:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row])).logits[0, -len(row) :].float().log_softmax(-1)
        values += [float(logits[i - 1, row[i]]) for i in range(1, len(row))]
    return values


def test_every_type_of_the_recipe_is_here() -> None:
    assert {about.get("type", "lora") for about in KINDS.values()} == set(ADAPTER_TYPES) - {"none"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_learns_and_loads_in_peft_unchanged(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(tiny_model, tmp_path, kind)
    backend = job.backend(**FP32)
    assert trained_parameters(shape_of(tiny_model), job.config.adapter) == sum(
        parameter.numel() for parameter in backend.trained.values()
    )
    before = {name: parameter.detach().clone() for name, parameter in backend.trained.items()}
    start = backend.evaluate(BATCH)[0]
    train(backend)
    assert backend.evaluate(BATCH)[0] < start
    assert all(not torch.equal(before[name], parameter) for name, parameter in backend.trained.items())

    backend.save_weights(tmp_path / "adapter")
    ours = backend.log_probabilities(BATCH)
    assert np.allclose(ours, losses_in_peft(plain_peft(tiny_model, tmp_path / "adapter")), atol=1e-4)
    files = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}

    again = load_backend(job.plan, job.config, tiny_model, adapter=tmp_path / "adapter", training=False)
    assert np.allclose(ours, again.log_probabilities(BATCH), atol=1e-4)
    prompts = [row[:3] for row in ROWS]
    assert backend.generate(prompts, 4, {2}, lambda: None) == again.generate(prompts, 4, {2}, lambda: None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_adapter_gives_the_same_bytes(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(tiny_model, tmp_path, kind)
    whole = job.backend(**FP32)
    train(whole)
    first = job.backend(**FP32)
    train(first, last=5)
    first.save_state(tmp_path)
    second = job.backend(**FP32)
    second.load_state(tmp_path)
    train(second, first=5)
    for backend, name in ((whole, "whole"), (second, "parts")):
        backend.save_weights(tmp_path / name)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


@pytest.mark.parametrize(
    "changes",
    [{"weights_dtype": "bf16", "compute_dtype": "bf16"}, {"weights_dtype": "bf16", "compute_dtype": "fp32"}],
    ids=["bf16", "widened"],
)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "lora"])
def test_an_adapter_learns_in_half_precision(
    kind: str, changes: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    backend = job_of(tiny_model, tmp_path, kind).backend(**(FP32 | changes))
    start = backend.evaluate(BATCH)[0]
    train(backend)
    assert backend.evaluate(BATCH)[0] < start
