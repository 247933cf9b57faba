"""Models of other families train through Unsloth as in the torch backend, and what does not load is said in words."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

from engine.backends.unsloth.causal_lm import UnslothModel
from engine.errors import ModelError
from tests.test_backend_architectures import FAMILIES, ROWS
from tests.tiny import make_family
from tests.training import Job, batch_of, train_step

FP32 = {"weights_dtype": "fp32", "compute_dtype": "fp32"}
STEPS = 5


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> Path:
    """A tiny model of a family with random weights, beside the tiny tokenizer."""
    return make_family(tmp_path / "model", tiny_model, *FAMILIES[request.param])


def trained(job: Job, backend: str) -> tuple[list[float], Any]:
    """Losses a token of some steps, packed and padded in turn where the model packs, and the backend that made them."""
    loaded = job.backend(backend=backend, **FP32)
    batches = [
        batch_of(ROWS, packed=loaded.model.supports_packing and step % 2 == 1) for step in range(STEPS)
    ]
    results = [train_step(loaded, [batch], 5e-3, step, lambda: None) for step, batch in enumerate(batches)]
    return [result.loss for result in results], loaded


def log_probabilities(model: Any) -> list[float]:
    """Log-probabilities by a model of transformers or PEFT, of each row's tokens after the first; a row at a time."""
    found = []
    with torch.no_grad():
        for row in ROWS:
            logits = model(torch.tensor([row])).logits[0].log_softmax(-1)
            found += [float(logits[i - 1, row[i]]) for i in range(1, len(row))]
    return found


def test_model_family_learns_as_in_torch(family: Path, tmp_path: Path) -> None:
    job = Job.make(family, tmp_path, adapter={"dropout": 0.0}, data={"packing": True})
    ours, unsloth = trained(job, "unsloth")
    theirs, torch_backend = trained(job, "peft")
    assert isinstance(unsloth, UnslothModel)
    assert unsloth.model.supports_packing == torch_backend.model.supports_packing
    assert set(unsloth.trained) == set(torch_backend.trained)
    assert ours[-1] < ours[0] - 0.2
    assert np.allclose(ours, theirs, rtol=1e-3)
    unsloth.save_weights(tmp_path / "adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(family, dtype=torch.float32)
    plain = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    said = unsloth.model.logps(batch_of(ROWS, packed=False))
    assert np.allclose(said, log_probabilities(plain), atol=1e-4)
    prompts = [ROWS[0][:6], ROWS[2][:2]]
    assert unsloth.model.generate(prompts, 6, {2}, lambda: None) == torch_backend.model.generate(
        prompts, 6, {2}, lambda: None
    )


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("qwen3 moe, a dense layer and one of experts", ["q_proj", "gate_proj", "up_proj", "down_proj"]),
        ("mixtral, experts", ["w1", "w2", "w3"]),
    ],
    indirect=["family"],
)
def test_experts_learn_where_they_are_named(family: Path, targets: list[str], tmp_path: Path) -> None:
    job = Job.make(family, tmp_path, adapter={"target_modules": targets, "dropout": 0.0})
    ours, unsloth = trained(job, "unsloth")
    theirs, torch_backend = trained(job, "peft")
    assert any(".experts." in name for name in unsloth.trained)
    assert set(unsloth.trained) == set(torch_backend.trained)
    assert ours[-1] < ours[0]
    assert np.allclose(ours, theirs, rtol=1e-3)


def with_config(model: Path, folder: Path, **changes: Any) -> Path:
    """A copy of the model whose config.json says something else."""
    shutil.copytree(model, folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "novel", "architectures": ["NovelForCausalLM"]}, "novel"),
        ({"hidden_size": 128}, "mismatched"),
    ],
    ids=["a kind that nobody knows", "sizes unlike the weights'"],
)
def test_unsupported_model_is_named_with_hint(
    changes: dict[str, Any], said: str, tiny_model: Path, tmp_path: Path
) -> None:
    job = Job.make(tiny_model, tmp_path)
    job.model = with_config(tiny_model, tmp_path / "broken", **changes)
    with pytest.raises(ModelError, match=f"Unsloth does not load the model: .*{said}") as caught:
        job.backend(backend="unsloth", **FP32)
    assert "backend: peft" in caught.value.hint
