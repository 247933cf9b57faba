"""Tiny models of the common families, random everywhere, with the starter's tokenizer; and rows to train them on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "Llama": {},
    "Mistral": {"sliding_window": 24},
    "Qwen2": {},
    "Qwen3": {"head_dim": 16},
    "Gemma3Text": {
        "head_dim": 16,
        "sliding_window": 24,
        "num_hidden_layers": 6,
    },  # mlx-lm looks for a sixth layer
    "Phi3": {"pad_token_id": 0},
    "Qwen3Moe": {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
}
"""Classes of transformers, with what of their config sets them apart at this size."""
SMALL: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
NOISE = 0.05
"""Added to every parameter, so that norms and biases are not the 1 and 0 that hide a mistake."""


def make(family: str, folder: Path, starter: Path) -> Path:
    """Write a model of that family; the same bytes each time. `starter` lends tokenizer and template."""
    import torch
    import transformers

    tokens = json.loads((starter / "config.json").read_text())
    ids = {name: tokens.get(name) for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    config = getattr(transformers, f"{family}Config")(**{**SMALL, **ids, **FAMILIES[family]})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=NOISE)
    model.save_pretrained(folder)
    for file in [*starter.glob("token*"), *starter.glob("*.jinja")]:
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def rows(file: Path, count: int = 24, longest: int = 24) -> Path:
    """Write conversations of lengths between a few and some hundred tokens."""
    words = ("fox", "bird", "robot", "tea", "dog", "story")
    with file.open("w", encoding="utf-8") as opened:
        for number in range(count):
            word, times = words[number % len(words)], 1 + number * longest // count
            answer = " ".join([word] * times)
            question = {"role": "user", "content": f"Say {word} {times} times."}
            body = {"messages": [question, {"role": "assistant", "content": answer}]}
            opened.write(json.dumps(body) + "\n")
    return file
