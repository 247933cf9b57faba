"""An adapter exported to GGUF, and a model merged into one, answer in llama.cpp as PEFT does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

from engine.errors import ConfigError, ModelError
from engine.export.registry import exporter_named
from engine.runs.directory.trained_model import TrainedModel
from tests.llama_cpp import LogProbabilities, next_token_log_probabilities
from tests.test_gguf import PROMPTS, by_transformers, exported
from tests.tiny import VOCAB, make_family

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.slow

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MOE = {
    "head_dim": 16, "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True,
}  # fmt: skip
CASES: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "llama": ("Llama", {}, {"target_modules": LINEAR}),
    "rslora": ("Llama", {}, {"target_modules": LINEAR, "use_rslora": True}),
    "layers of other ranks and alphas": (
        "Llama",
        {},
        {"target_modules": LINEAR, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 20}},
    ),
    "gemma3": (
        "Gemma3Text",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "num_hidden_layers": 7},
        {"target_modules": LINEAR},
    ),
    "phi3": ("Phi3", {"pad_token_id": 0}, {"target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}),
    "gpt2": ("GPT2", {}, {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "attention of a mixture": ("Qwen3Moe", MOE, {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}),
}  # fmt: skip


def trained(base: Path, out: Path, **settings: Any) -> tuple[TrainedModel, LogProbabilities]:
    """An adapter whose trained values were all moved at random, and PEFT's log-probabilities with it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(1)
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(**{"r": 4, "lora_alpha": 10, "task_type": "CAUSAL_LM"} | settings)
    )
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    adapted.eval().save_pretrained(out, save_embedding_layers=False)
    return TrainedModel(base, out), by_transformers(adapted)


def adapter_file(model: TrainedModel, out: Path, **options: Any) -> Path:
    out.mkdir(exist_ok=True)
    facts = exporter_named("gguf-adapter").export(model, out, options, lambda: None)
    return out / facts["file"]


@pytest.mark.parametrize("case", CASES)
def test_adapter_on_the_bases_file_and_merged_file_answer_as_peft_does(
    case: str, tiny_model: Path, tmp_path: Path
) -> None:
    family, config, settings = CASES[case]
    base = make_family(tmp_path / "base", tiny_model, family, config)
    model, theirs = trained(base, tmp_path / "adapter", **settings)
    plain = exported(base, tmp_path / "plain")
    ours = next_token_log_probabilities(plain, PROMPTS, VOCAB, adapter_file(model, tmp_path / "lora"))
    np.testing.assert_allclose(ours, theirs, atol=0.03)
    without = next_token_log_probabilities(plain, PROMPTS, VOCAB)
    assert np.abs(without - theirs).max() > 0.3  # what the adapter changes is more than what is allowed
    (tmp_path / "merged").mkdir()
    facts = exporter_named("gguf").export(model, tmp_path / "merged", {"quantization": "f32"}, lambda: None)
    merged = next_token_log_probabilities(tmp_path / "merged" / facts["file"], PROMPTS, VOCAB)
    np.testing.assert_allclose(merged, theirs, atol=0.02)


REFUSED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "trained norms": (
        {"target_modules": ["q_proj"], "modules_to_save": ["input_layernorm"]},
        "trained whole",
    ),
    "dora": ({"target_modules": ["q_proj"], "use_dora": True}, "DoRA"),
    "embedding": ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens"),
    "output layer": ({"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
    "added tokens": ({"target_modules": ["q_proj"], "trainable_token_indices": [3, 4]}, "embed_tokens"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_adapter_that_llama_cpp_would_read_otherwise_is_refused(
    case: str, tiny_model: Path, tmp_path: Path
) -> None:
    settings, named = REFUSED[case]
    base = make_family(tmp_path / "base", tiny_model, "Llama", {})
    model, _ = trained(base, tmp_path / "adapter", **settings)
    with pytest.raises(ModelError, match=named) as refused:
        adapter_file(model, tmp_path / "out")
    assert "ft export --format gguf" in refused.value.hint
    assert list((tmp_path / "out").iterdir()) == []


def test_adapter_of_experts_is_refused_by_name(tiny_model: Path, tmp_path: Path) -> None:
    base = make_family(tmp_path / "base", tiny_model, "Qwen3Moe", MOE)
    model, _ = trained(
        base, tmp_path / "adapter", target_modules=["q_proj", "gate_proj", "up_proj", "down_proj"]
    )
    with pytest.raises(ModelError, match=r"model\.layers\.0\.mlp\.experts"):
        adapter_file(model, tmp_path / "out")


def test_mistakes_about_an_adapter_are_told(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="whole model"):
        adapter_file(TrainedModel(tiny_model), tmp_path / "out")
    with pytest.raises(ConfigError, match="no quantisation q4_k_m"):
        adapter_file(TrainedModel(tiny_model, tmp_path), tmp_path / "out", quantization="q4_k_m")
    with pytest.raises(ConfigError, match="no option dtype"):
        adapter_file(TrainedModel(tiny_model, tmp_path), tmp_path / "out", dtype="f16")
