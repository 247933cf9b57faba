"""Merging an adapter into full weights: the result answers as the adapter on its base does, for every kind of LoRA."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.numpy import save_file

from engine.merging.merged import MergedTensors, merged_tensors
from engine.runs.directory.trained_model import TrainedModel
from tests.tiny import change_json, make_family

LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = torch.arange(3, 40)[None]


def model_of(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(IDS).logits


def trained(base: Path, out: Path, grow: int = 0, **settings: Any) -> tuple[TrainedModel, torch.Tensor]:
    """An adapter by PEFT whose trained values were all moved at random, and the logits that it gives on its base."""
    torch.manual_seed(1)
    model = model_of(base)
    model = peft.get_peft_model(
        model, peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM"} | settings)
    )
    moved = {}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.data_ptr() not in moved:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
                moved[parameter.data_ptr()] = True
    model.eval().save_pretrained(out, save_embedding_layers=False)
    return TrainedModel(base, out), logits(model)


def written(merged: MergedTensors, base: Path, folder: Path) -> Any:
    """The merged weights as transformers loads them."""
    folder.mkdir()
    save_file(
        {name: merged.read(name) for name in merged.infos}, folder / "model.safetensors", {"format": "pt"}
    )
    (folder / "config.json").write_text((base / "config.json").read_text())
    if merged.untied:
        change_json(folder / "config.json", tie_word_embeddings=False)
    if merged.vocabulary:
        change_json(folder / "config.json", vocab_size=merged.vocabulary)
    return model_of(folder)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    experts = {"moe_intermediate_size": 24, "num_experts_per_tok": 2, "head_dim": 8}
    made = {
        "untied": ("Llama", {"tie_word_embeddings": False, "attention_bias": True}),
        "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
        "qwen3_moe": ("Qwen3Moe", {"num_experts": 4, **experts}),
        "mixtral": ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    }
    tied = {"tied": tiny_model}
    return tied | {name: make_family(folder / name, tiny_model, *about) for name, about in made.items()}


CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "LoRA": ("tied", {"target_modules": LLAMA}),
    "LoRA untied": ("untied", {"target_modules": LLAMA}),
    "rsLoRA": ("tied", {"target_modules": LLAMA, "use_rslora": True}),
    "DoRA": ("tied", {"target_modules": LLAMA, "use_dora": True}),
    "lora_bias": ("untied", {"target_modules": ["q_proj", "k_proj"], "lora_bias": True}),
    "ranks and alphas of layers": (
        "tied",
        {"target_modules": LLAMA, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"0.self_attn.q_proj": 9}},
    ),
    "embedding trained, tied": ("tied", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    "both trained, untied": (
        "untied",
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    ),
    "both trained as one": (
        "tied",
        {
            "target_modules": ["q_proj"],
            "modules_to_save": ["embed_tokens", "lm_head"],
            "ensure_weight_tying": True,
        },
    ),
    "rows of tokens, tied": (
        "tied",
        {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [5, 9]}},
    ),
    "rows of tokens, untied": (
        "untied",
        {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [5, 9], "lm_head": [7]}},
    ),
    "LoRA on a tied output layer": ("tied", {"target_modules": ["q_proj", "lm_head"]}),
    "LoRA on a tied embedding": ("tied", {"target_modules": ["q_proj", "embed_tokens"]}),
    "LoRA on both, untied": ("untied", {"target_modules": ["embed_tokens", "lm_head"]}),
    "GPT-2": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "GPT-2 with DoRA": (
        "gpt2",
        {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True, "use_dora": True},
    ),
    "attention of a mixture": ("qwen3_moe", {"target_modules": ["q_proj", "v_proj", "o_proj"]}),
    "experts of Qwen3-MoE": (
        "qwen3_moe",
        {"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
    ),
    "one projection of experts": (
        "qwen3_moe",
        {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]},
    ),
    "experts and router of Mixtral": ("mixtral", {"target_modules": ["q_proj", "gate", "w1", "w2", "w3"]}),
}


@pytest.mark.parametrize("case", CASES)
def test_merged_weights_answer_as_the_adapter_on_its_base(
    case: str, bases: Mapping[str, Path], tmp_path: Path
) -> None:
    name, settings = CASES[case]
    model, expected = trained(bases[name], tmp_path / "adapter", **settings)
    assert (logits(model_of(bases[name])) - expected).abs().max() > 1e-2, "the adapter has to do something"
    merged = merged_tensors(model, bases[name])
    found = logits(written(merged, bases[name], tmp_path / "merged"))
    assert (found - expected).abs().max() < 1e-4
