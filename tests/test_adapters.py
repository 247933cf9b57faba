"""Every type of adapter: it learns, loads in PEFT unchanged, resumes to the bit, and is as large as the plan says."""

import inspect
import itertools
from pathlib import Path
from typing import Any

import bitsandbytes
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from engine.backends import load_trainer
from engine.backends.torch.trainer import TorchTrainer
from engine.config.adapters import ADAPTER_TYPES, FLOAT_ONLY, PROMPT_TYPES
from engine.data.types import Message, Prompt, Sampling
from engine.errors import ConfigError
from engine.inference.answer import gathered
from engine.inference.generation import Generator
from engine.models.adapters import trained_parameters
from engine.models.sizing import shape_of
from tests.training import Job, batch_of, train_step

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


def job_of(base: Path, folder: Path, kind: str, /, **sections: dict[str, Any]) -> Job:
    cleared = {"rank": 16, "dropout": 0.0}
    return Job.make(base, folder, adapter=cleared | KINDS[kind], **sections)


def train(backend: TorchTrainer, first: int = 0, last: int = STEPS, rate: float = 2e-2) -> list[float]:
    return [train_step(backend, [BATCH], rate, seed, lambda: None).loss_sum for seed in range(first, last)]


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


def test_every_adapter_type_is_tested() -> None:
    assert {about.get("type", "lora") for about in KINDS.values()} == set(ADAPTER_TYPES) - {"none"}


@pytest.mark.parametrize("kind", KINDS)
def test_adapter_learns_and_loads_in_peft(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(tiny_model, tmp_path, kind)
    backend = job.backend(**FP32)
    assert trained_parameters(shape_of(tiny_model), job.config.adapter) == sum(
        parameter.numel() for parameter in backend.trained.values()
    )
    before = {name: parameter.detach().clone() for name, parameter in backend.trained.items()}
    start = backend.evaluate(BATCH).loss
    train(backend)
    assert backend.evaluate(BATCH).loss < start
    assert all(not torch.equal(before[name], parameter) for name, parameter in backend.trained.items())

    backend.save_weights(tmp_path / "adapter")
    ours = backend.model.logps(BATCH).tolist()
    assert np.allclose(ours, losses_in_peft(plain_peft(tiny_model, tmp_path / "adapter")), atol=1e-4)
    files = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}

    again = load_trainer(job.plan, job.config, tiny_model, adapter=tmp_path / "adapter")
    assert np.allclose(ours, again.model.logps(BATCH).tolist(), atol=1e-4)
    prompts = [row[:3] for row in ROWS]
    assert backend.model.generate(prompts, 4, {2}, lambda: None) == again.model.generate(
        prompts, 4, {2}, lambda: None
    )


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_adapter_has_same_bytes(kind: str, tiny_model: Path, tmp_path: Path) -> None:
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


PLAIN = [
    kind for kind in KINDS if "," not in kind and kind not in ("lora", "rslora", "gaussian", "orthogonal")
]
QUANTISABLE = [
    kind for kind in PLAIN if KINDS[kind].get("type") not in FLOAT_ONLY and "init" not in KINDS[kind]
]
HALF = {
    "bf16": {"weights_dtype": "bf16", "compute_dtype": "bf16"},
    "widened": {"weights_dtype": "bf16", "compute_dtype": "fp32"},
}


@pytest.mark.parametrize("formats", HALF)
@pytest.mark.parametrize("kind", PLAIN)
def test_adapter_learns_in_half_precision(kind: str, formats: str, tiny_model: Path, tmp_path: Path) -> None:
    backend = job_of(tiny_model, tmp_path, kind).backend(**(FP32 | HALF[formats]))
    start = backend.evaluate(BATCH).loss
    train(backend, last=6)
    assert backend.evaluate(BATCH).loss < start


@pytest.mark.parametrize("kind", [kind for kind in PLAIN if KINDS[kind].get("type") != "prefix"])
def test_gradient_checkpointing_changes_no_weights(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(tiny_model, tmp_path, kind)
    results = []
    for checkpointing in (False, True):
        backend = job.backend(**FP32, gradient_checkpointing=checkpointing)
        results.append(train_step(backend, [BATCH], 1e-2, 3, lambda: None))
    assert results[0].loss_sum == pytest.approx(results[1].loss_sum, rel=1e-5)
    assert results[0].grad_norm == pytest.approx(results[1].grad_norm, rel=1e-4)


@pytest.mark.parametrize("kind", QUANTISABLE)
@pytest.mark.parametrize(("held", "compute"), [("4bit", "fp32"), ("4bit", "bf16"), ("8bit", "fp32")])
def test_adapter_learns_on_quantised_weights(
    kind: str, held: str, compute: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without bitsandbytes' own forward, which on some CPUs repacks the weights as soon as it evaluates."""
    monkeypatch.delattr(bitsandbytes.nn.Linear4bit, "forward")
    monkeypatch.delattr(bitsandbytes.nn.Linear8bitLt, "forward")
    job = job_of(tiny_model, tmp_path, kind, model={"quantization": held})
    backend = job.backend(weights_dtype=compute, compute_dtype=compute, steps=STEPS)
    start = backend.evaluate(BATCH).loss
    train(backend, last=6)
    assert backend.evaluate(BATCH).loss < start
    assert all(backend.model.generate([ROWS[0][:3]], 2, set(), lambda: None))
    backend.save_weights(tmp_path / "adapter")
    again = load_trainer(job.plan, job.config, tiny_model, adapter=tmp_path / "adapter")
    tolerance = 1e-4 if compute == "fp32" else 2e-2
    assert np.allclose(backend.model.logps(BATCH).tolist(), again.model.logps(BATCH).tolist(), atol=tolerance)


@pytest.mark.parametrize("kind", ["lora", "prefix", "prompt", "ptuning"])
def test_adapter_answers_match_whole_model(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    backend = job_of(tiny_model, tmp_path, kind).backend(**FP32)
    train(backend)
    backend.save_weights(tmp_path / "adapter")
    plain = plain_peft(tiny_model, tmp_path / "adapter")
    prompts = [row[:size] for row, size in zip(ROWS, (5, 2, 3), strict=True)]
    for prompt, got in zip(prompts, backend.model.generate(prompts, 5, {2}, lambda: None), strict=True):
        said = list(prompt)
        for _ in range(5):
            with torch.no_grad():
                said.append(int(plain(input_ids=torch.tensor([said])).logits[0, -1].argmax()))
        assert got == list(itertools.takewhile(lambda token: token != 2, said[len(prompt) :]))


@pytest.mark.parametrize("kind", ["lora", *PROMPT_TYPES])
def test_chat_answers_as_run_did(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    """Virtual tokens are in no weight: they have to stand in front of the conversation."""
    backend = job_of(tiny_model, tmp_path, kind).backend(**FP32)
    train(backend)
    backend.save_weights(tmp_path / "adapter")
    chat = Generator.open(tiny_model, tmp_path / "adapter")
    asked = Prompt((Message("user", "Say fox."),), seed=0)
    ids = chat.tokenizer.prompt_ids(asked.messages)
    answer = backend.model.generate([ids], 6, chat.tokenizer.stop_ids, lambda: None)[0]
    assert gathered(chat.stream(asked, Sampling(6))).text == chat.tokenizer.decode(answer)


def test_adalora_ends_with_recipe_rank(tiny_model: Path, tmp_path: Path) -> None:
    backend = job_of(tiny_model, tmp_path, "adalora").backend(**FP32)
    layers = sum("lora_E" in name for name in backend.trained)

    def ranks() -> int:
        backend.save_weights(tmp_path)
        saved = load_file(tmp_path / "adapter_model.safetensors")
        return sum(len(value) for name, value in saved.items() if "lora_E" in name)

    train(backend, last=1)
    assert ranks() == 6 * layers
    train(backend, first=1)
    assert ranks() == 4 * layers


def test_pissa_adapter_survives_other_arithmetic(tiny_model: Path, tmp_path: Path) -> None:
    """As on another machine, whose arithmetic rounds in another way."""
    job = job_of(tiny_model, tmp_path, "pissa")
    first = job.backend(**FP32)
    train(first, last=3)
    first.save_state(tmp_path)
    job.config = job.config.model_copy(update={"seed": 7})
    second = job.backend(**FP32)
    second.load_state(tmp_path)
    assert np.allclose(first.model.logps(BATCH).tolist(), second.model.logps(BATCH).tolist(), atol=1e-4)
    for backend, name in ((first, "first"), (second, "second")):
        backend.save_weights(tmp_path / name)
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "second"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", ["adalora", "prefix"])
def test_whole_run_trains_adapter(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    job = job_of(tiny_model, tmp_path, kind)
    assert job.plan.packing == (kind == "adalora")
    assert job.train() == "completed"
    assert (job.run.adapter / "adapter_config.json").is_file()


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"type": "oft", "block_size": 24}, "adapter.block_size: 24 does not divide the 64 inputs of q_proj"),
        ({"type": "ia3", "target_modules": ["q_prj"]}, "no layers called q_prj; did you mean q_proj"),
        ({"init": "loftq"}, "adapter.init: loftq needs a CUDA GPU"),
    ],
)
def test_impossible_adapter_is_refused_before_loading(
    adapter: dict[str, Any], message: str, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        Job.make(
            tiny_model,
            tmp_path,
            adapter={"rank": 16, "dropout": 0.0} | adapter,
            model={"quantization": "4bit"},
        )


def test_peft_has_what_loftq_adapter_calls() -> None:
    """LoftQ needs CUDA: what we pass exists, and it finds the published weights by the model's own names."""
    assert "model_path" in inspect.signature(peft.replace_lora_weights_loftq).parameters
    source = inspect.getsource(peft.utils.loftq_utils)
    assert 'name + ".weight"' in source
    assert "model.safetensors.index.json" in source


@pytest.mark.parametrize("kind", [kind for kind in PLAIN if "init" not in KINDS[kind]])
def test_plan_counts_activations_of_adapter_layers(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    def kept(name: str) -> int:
        memory = job_of(tiny_model, tmp_path / name.replace(", ", "-"), name).plan.memory
        return memory.activations + memory.logits

    (tmp_path / "lora").mkdir()
    (tmp_path / kind).mkdir()
    assert kept(kind) > kept("lora")
