"""Weights that are not the model's own, and adapters of another model, are refused by name on every way in."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from engine.backends import load_trainer
from engine.backends.torch.loading import load_causal, refuse_other_weights
from engine.errors import CheckpointError, ModelError
from engine.inference.generation import Generator
from tests.tiny import change_json, change_model, make_family
from tests.training import Job, batch_of, train_step

Tensors = dict[str, Any]
BATCH = batch_of([[3, 40, 50, 60, 70, 80]], packed=False)

BROKEN: dict[str, tuple[Callable[[Tensors], Tensors], dict[str, Any], str]] = {
    "an untied head is not there": (
        lambda tensors: tensors, {"tie_word_embeddings": False}, r"1 is missing \(lm_head.weight\)"),
    "torch.compile has put its prefix before all names": (
        lambda tensors: {f"_orig_mod.{name}": value for name, value in tensors.items()}, {},
        r"missing .*no place in the model \(_orig_mod.model"),
    "a layer is not there": (
        lambda tensors: {name: value for name, value in tensors.items() if ".layers.1." not in name}, {},
        r"9 are missing \(model.layers.1.input_layernorm.weight"),
    "they are of another model altogether": (
        lambda tensors: {"foreign.weight": torch.zeros(3)}, {}, r"missing .*1 has no place in the model"),
    "one is of another model": (
        lambda tensors: tensors | {"foreign.weight": torch.zeros(3)}, {},
        r"1 has no place in the model \(foreign.weight\)"),
    "config.json has fewer layers": (
        lambda tensors: tensors, {"num_hidden_layers": 1}, r"9 have no place in the model \(model.layers.1"),
    "config.json has a larger vocabulary": (
        lambda tensors: tensors, {"vocab_size": 500},
        r"shape \(.*embed_tokens.weight: 384×64 instead of 500×64"),
}  # fmt: skip


@pytest.fixture
def broken(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> tuple[Path, str]:
    weights, config, told = BROKEN[request.param]
    return change_model(tiny_model, tmp_path / "broken", weights, **config), told


@pytest.mark.parametrize("broken", BROKEN, indirect=True)
@pytest.mark.parametrize("backend", ["peft", "mlx", "chat", "unsloth"])
def test_foreign_weights_are_refused_by_name(
    backend: str, broken: tuple[Path, str], tiny_model: Path, tmp_path: Path
) -> None:
    folder, told = broken
    job = Job.make(tiny_model, tmp_path)
    job.model = folder
    if backend == "unsloth" and "shape" in told:
        pytest.skip("there only names are compared")
    ways: dict[str, Callable[[], Any]] = {
        "chat": lambda: Generator.open(folder, None),
        "unsloth": lambda: refuse_other_weights(carelessly_loaded(folder), folder),
    }
    with pytest.raises(ModelError, match=told):
        ways.get(backend, lambda: loaded(job, backend))()


@pytest.mark.parametrize("way", ["peft", "mlx", "chat"])
def test_nan_weights_are_refused_by_name(way: str, tiny_model: Path, tmp_path: Path) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"

    def poison(tensors: Tensors) -> Tensors:
        tensors[name][3, 4] = float("nan")
        return tensors

    job = Job.make(tiny_model, tmp_path)
    job.model = change_model(tiny_model, tmp_path / "nan", poison)
    with pytest.raises(
        ModelError, match=r"NaN or infinity in 1 of its tensors \(.*layers.1.self_attn.q_proj"
    ):
        Generator.open(job.model, None) if way == "chat" else loaded(job, way)


CONFIGS: dict[str, dict[str, Any]] = {
    "text for the rotation": {"rope_parameters": {"rope_type": "default", "rope_theta": "much"}},
    "a rotation backwards": {"rope_parameters": {"rope_type": "default", "rope_theta": -10000.0}},
    "an unknown rotation": {"rope_parameters": {"rope_type": "spiral", "rope_theta": 10000.0}},
    "no heads": {"num_attention_heads": 0},
    "heads that do not divide": {"num_attention_heads": 7},
    "text for a size": {"hidden_size": "wide"},
    "an unknown type": {"model_type": "brain"},
    "an unknown activation": {"hidden_act": "mood"},
}


@pytest.mark.parametrize("way", ["peft", "mlx", "chat"])
@pytest.mark.parametrize("case", CONFIGS)
def test_impossible_model_config_gets_one_message(
    case: str, way: str, tiny_model: Path, tmp_path: Path
) -> None:
    if way == "mlx" and case == "an unknown activation":
        pytest.skip("mlx-lm's Llama has its own, whatever config.json says")
    job = Job.make(tiny_model, tmp_path)
    job.model = change_model(tiny_model, tmp_path / "wrong", **CONFIGS[case])
    with pytest.raises(ModelError) as raised:
        Generator.open(job.model, None) if way == "chat" else loaded(job, way)
    assert raised.value.hint
    assert "\n" not in raised.value.message
    assert len(raised.value.message) < 600


def carelessly_loaded(folder: Path) -> Any:
    """As Unsloth loads a model: nothing is told of what is left random."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, ignore_mismatched_sizes=True)


def loaded(job: Job, backend: str, **options: Any) -> Any:
    plan = job.plan.changed(backend=backend, device="cpu", weights_dtype="fp32", compute_dtype="fp32")
    return load_trainer(plan, job.config, job.model, **options)


def test_tied_head_and_buffers_are_no_weights(tiny_model: Path, tmp_path: Path) -> None:
    buffers = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    folder = change_model(
        tiny_model,
        tmp_path / "old",
        lambda tensors: tensors | buffers | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()},
    )
    model = load_causal(folder, dtype=torch.float32, device="cpu", trust_remote_code=False)
    refuse_other_weights(model, folder)
    job = Job.make(tiny_model, tmp_path)
    job.model = folder
    losses = [loaded(job, backend).evaluate(BATCH).loss for backend in ("peft", "mlx")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_other_layout_of_experts_is_accepted(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 16}
    folder = make_family(tmp_path / "mixture", tiny_model, "Qwen3Moe", settings)
    model = load_causal(folder, dtype=torch.float32, device="cpu", trust_remote_code=False)
    refuse_other_weights(model, folder)


@pytest.mark.slow
def test_training_on_bad_weights_exits_4(tiny_model: Path, tmp_path: Path) -> None:
    """Their names are in the message."""
    folder = change_model(tiny_model, tmp_path / "nohead", tie_word_embeddings=False)
    job = Job.make(tiny_model, tmp_path)
    recipe = tmp_path / "train.json"
    body = job.config.model_dump(mode="json")
    body["model"]["base"] = str(folder)
    recipe.write_text(json.dumps(body))
    ended = subprocess.run(
        [sys.executable, "-m", "ft.cli", "train", str(recipe), "--plain"], capture_output=True, text=True
    )
    assert ended.returncode == 4
    assert "lm_head.weight" in ended.stderr


# adapters


@pytest.fixture
def trained(tiny_model: Path, tmp_path: Path) -> tuple[Job, Path]:
    """A job on the tiny model, and the folder of an adapter that it left."""
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0})
    backend = job.backend(weights_dtype="fp32", compute_dtype="fp32")
    train_step(backend, [BATCH], 1e-2, 0, lambda: None)
    backend.save_weights(tmp_path / "adapter")
    return job, tmp_path / "adapter"


def in_every_way(job: Job, adapter: Path) -> dict[str, Callable[[], Any]]:
    return {
        "peft": lambda: loaded(job, "peft", adapter=adapter),
        "mlx": lambda: loaded(job, "mlx", adapter=adapter),
        "chat": lambda: Generator.open(job.model, adapter),
    }


def changed(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({k: v.contiguous() for k, v in change(load_file(file)).items()}, file)


def with_nan(tensors: Tensors) -> Tensors:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    tensors[name][0, 0] = float("nan")
    return tensors


ADAPTERS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "names of another model": (
        lambda tensors: {name.replace("model.layers", "blocks"): value for name, value in tensors.items()},
        r"for another model: .*missing .*no place in the model",
    ),
    "a layer is not there": (
        lambda tensors: {name: value for name, value in tensors.items() if ".layers.1." not in name},
        r"missing \(.*layers.1",
    ),
    "wider layers": (
        lambda tensors: {name: torch.cat([value, value], 1) for name, value in tensors.items()},
        r"shape|size mismatch",
    ),
    "not a number": (with_nan, r"NaN or infinity in 1 of its tensors \(.*layers.0.self_attn.q_proj.lora_A"),
}


@pytest.mark.parametrize("way", ["peft", "mlx", "chat"])
@pytest.mark.parametrize("case", ADAPTERS)
def test_adapter_of_other_model_is_refused(case: str, way: str, trained: tuple[Job, Path]) -> None:
    job, adapter = trained
    change, told = ADAPTERS[case]
    in_every_way(job, adapter)[way]()
    changed(adapter, change)
    with pytest.raises(ModelError, match=told):
        in_every_way(job, adapter)[way]()


TORN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "the settings are a list": (
        lambda folder: (folder / "adapter_config.json").write_text("[]"), "not a JSON object"),
    "the settings are no JSON": (lambda folder: (folder / "adapter_config.json").write_text("{"), "not JSON"),
    "the settings are gone": (lambda folder: (folder / "adapter_config.json").unlink(), "no adapter_config"),
    "the type is unknown": (
        lambda folder: change_json(folder / "adapter_config.json", peft_type="NEW"), "does not load"),
    "the rank is text": (lambda folder: change_json(folder / "adapter_config.json", r="four"), "adapter"),
    "the tensors are gone": (
        lambda folder: (folder / "adapter_model.safetensors").unlink(), "no adapter_model.safetensors"),
    "the tensors are cut off": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(
            (folder / "adapter_model.safetensors").read_bytes()[:-40]), "cut off"),
    "the tensors' file is empty": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(b""), "not a whole safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("way", ["peft", "mlx", "chat"])
@pytest.mark.parametrize("case", TORN)
def test_torn_adapter_gets_one_message(case: str, way: str, trained: tuple[Job, Path]) -> None:
    job, adapter = trained
    change, told = TORN[case]
    change(adapter)
    with pytest.raises(ModelError, match=told) as raised:
        in_every_way(job, adapter)[way]()
    assert raised.value.hint
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("backend", ["peft", "mlx"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensor: torch.cat([tensor, tensor]), "other weights"),
        (lambda tensor: tensor * float("nan"), "NaN or infinity"),
    ],
    ids=["other shapes", "no numbers"],
)
def test_unfitting_checkpoint_is_not_resumed(
    backend: str, change: Callable[[Any], Any], told: str, tiny_model: Path, tmp_path: Path
) -> None:
    job = Job.make(tiny_model, tmp_path)
    first = loaded(job, backend)
    train_step(first, [BATCH], 1e-2, 0, lambda: None)
    first.save_state(tmp_path)
    loaded(job, backend).load_state(tmp_path)
    tensors = load_file(tmp_path / "state.safetensors")
    name = next(name for name in tensors if name.startswith("weight."))
    save_file(tensors | {name: change(tensors[name])}, tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError, match=told):
        loaded(job, backend).load_state(tmp_path)
