"""A model exported to GGUF answers in llama.cpp as it does in transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from engine.data.tokenization.tokenizer import Tokenizer
from engine.export.gguf.tokens import differences
from engine.export.registry import exporter_named
from engine.runs.directory.trained_model import TrainedModel
from tests.llama_cpp import LogProbabilities, next_token_log_probabilities
from tests.tiny import VOCAB, make_family

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.slow

PROMPTS = [
    list(range(3, 23)),
    [3, 91, 92, 93, 94, 95, 96, 97, 98, 99],
    [3, 33, 44],
    [7] * 40,
    list(range(300, 340)),
]
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"head_dim": 16}),
    "llama with biases, tied": ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama 3.1, long texts": (
        "Llama",
        {
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
            }
        },
    ),
    "llama, linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0}}),
    "qwen2, yarn": (
        "Qwen2",
        {
            "rope_parameters": {
                "rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 32,
            }
        },
    ),
    "mistral": ("Mistral", {"head_dim": 16, "sliding_window": None}),
    "mixtral": ("Mixtral", {"num_local_experts": 4}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3 moe": (
        "Qwen3Moe",
        {
            "head_dim": 16, "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2,
            "norm_topk_prob": True,
        },
    ),
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma2": (
        "Gemma2",
        {
            "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": (
        "Gemma3Text",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "num_hidden_layers": 7},
    ),
    "phi3": ("Phi3", {"pad_token_id": 0}),
    "phi3, a part rotated": (
        "Phi3",
        {
            "pad_token_id": 0, "head_dim": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
        },
    ),
    "phi3, long texts": (
        "Phi3",
        {
            "pad_token_id": 0, "original_max_position_embeddings": 512, "max_position_embeddings": 1024,
            "rope_parameters": {
                "rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0, 1.5, 2.0, 2.5],
                "long_factor": [2.0, 3.0, 4.0, 5.0], "original_max_position_embeddings": 512,
            },
        },
    ),
    "smollm3": ("SmolLM3", {"pad_token_id": 0, "num_hidden_layers": 5}),
    "gpt2": ("GPT2", {}),
}  # fmt: skip


def exported(folder: Path, out: Path, quantization: str = "f32", **options: Any) -> Path:
    """The GGUF file of a model's folder."""
    out.mkdir(exist_ok=True)
    facts = exporter_named("gguf").export(
        TrainedModel(folder), out, {"quantization": quantization, **options}, lambda: None
    )
    assert [file.name for file in out.glob("*.gguf")] == [facts["file"]]
    return out / facts["file"]


def by_transformers(model: Any) -> LogProbabilities:
    """Log-probabilities of the token after each prompt, `[prompts, vocabulary]`."""
    with torch.no_grad():
        logits = [model(torch.tensor([prompt])).logits[0, -1].float() for prompt in PROMPTS]
    found: LogProbabilities = torch.stack(logits).log_softmax(-1).numpy()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_each_architecture_answers_in_llama_cpp_as_in_transformers(
    family: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = make_family(tmp_path / "model", tiny_model, *FAMILIES[family])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = by_transformers(model)
    assert np.ptp(theirs) > 1  # an even distribution would be equal to any other
    ours = next_token_log_probabilities(exported(folder, tmp_path / "out"), PROMPTS, VOCAB)
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert (ours.argmax(-1) == theirs.argmax(-1)).all()


def test_starter_has_the_same_tokens_in_llama_cpp(starter_model: Path, tmp_path: Path) -> None:
    file = exported(starter_model, tmp_path / "out", "q8_0")
    assert differences(file, Tokenizer.load(starter_model)) == []
