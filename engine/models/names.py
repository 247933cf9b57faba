"""Short names of common models, what they stand for on the hub, and their sizes: no network is needed to judge them.

The values are those of each model's config.json; tests hold the parameters that follow from them against transformers.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models.formulas import decoder, gpt2
from engine.models.shape import ModelShape


@dataclass(frozen=True)
class KnownModel:
    """A model of the hub that has a short name."""

    name: str
    hub_id: str
    config: Mapping[str, Any]
    """Values of its config.json that its size depends on."""
    gated: bool = False
    """Its terms have to be accepted on the hub before it can be fetched."""

    @property
    def shape(self) -> ModelShape:
        """Its shape."""
        kind = str(self.config["model_type"])
        return gpt2(self.config) if kind == "gpt2" else decoder(kind, self.config)


def decoder_config(
    kind: str, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, vocab: int, context: int,
    tied: bool = False, **more: Any,
) -> Mapping[str, Any]:  # fmt: skip
    """Values of a config.json that a decoder of Llama's kind is sized by."""
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "tie_word_embeddings": tied,
    } | more


GPT2 = {
    "model_type": "gpt2",
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_positions": 1024,
    "vocab_size": 50257,
}
_ROWS = (
    KnownModel("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct",
        decoder_config("llama", 576, 1536, 30, 9, 3, 49152, 8192, tied=True)),
    KnownModel("smollm2-360m", "HuggingFaceTB/SmolLM2-360M-Instruct",
        decoder_config("llama", 960, 2560, 32, 15, 5, 49152, 8192, tied=True)),
    KnownModel("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        decoder_config("llama", 2048, 8192, 24, 32, 32, 49152, 8192, tied=True)),
    KnownModel("smollm3-3b", "HuggingFaceTB/SmolLM3-3B",
        decoder_config("smollm3", 2048, 11008, 36, 16, 4, 128256, 65536, tied=True, pad_token_id=128004)),
    KnownModel("gpt2", "openai-community/gpt2", GPT2),
    KnownModel("tinyllama-1.1b", "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        decoder_config("llama", 2048, 5632, 22, 32, 4, 32000, 2048)),
    KnownModel("llama-3.2-1b", "meta-llama/Llama-3.2-1B-Instruct",
        decoder_config("llama", 2048, 8192, 16, 32, 8, 128256, 131072, tied=True, head_dim=64), gated=True),
    KnownModel("llama-3.2-3b", "meta-llama/Llama-3.2-3B-Instruct",
        decoder_config("llama", 3072, 8192, 28, 24, 8, 128256, 131072, tied=True, head_dim=128), gated=True),
    KnownModel("llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct",
        decoder_config("llama", 4096, 14336, 32, 32, 8, 128256, 131072), gated=True),
    KnownModel("llama-3.3-70b", "meta-llama/Llama-3.3-70B-Instruct",
        decoder_config("llama", 8192, 28672, 80, 64, 8, 128256, 131072), gated=True),
    KnownModel("mistral-7b", "mistralai/Mistral-7B-Instruct-v0.3",
        decoder_config("mistral", 4096, 14336, 32, 32, 8, 32768, 32768)),
    KnownModel("mistral-nemo-12b", "mistralai/Mistral-Nemo-Instruct-2407",
        decoder_config("mistral", 5120, 14336, 40, 32, 8, 131072, 131072, head_dim=128)),
    KnownModel("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B-Instruct",
        decoder_config("qwen2", 896, 4864, 24, 14, 2, 151936, 32768, tied=True)),
    KnownModel("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B-Instruct",
        decoder_config("qwen2", 1536, 8960, 28, 12, 2, 151936, 32768, tied=True)),
    KnownModel("qwen2.5-7b", "Qwen/Qwen2.5-7B-Instruct",
        decoder_config("qwen2", 3584, 18944, 28, 28, 4, 152064, 32768)),
    KnownModel("qwen2.5-72b", "Qwen/Qwen2.5-72B-Instruct",
        decoder_config("qwen2", 8192, 29568, 80, 64, 8, 152064, 32768)),
    KnownModel("qwen3-0.6b", "Qwen/Qwen3-0.6B",
        decoder_config("qwen3", 1024, 3072, 28, 16, 8, 151936, 40960, tied=True, head_dim=128)),
    KnownModel("qwen3-8b", "Qwen/Qwen3-8B",
        decoder_config("qwen3", 4096, 12288, 36, 32, 8, 151936, 40960, head_dim=128)),
    KnownModel("gemma-2-2b", "google/gemma-2-2b-it",
        decoder_config("gemma2", 2304, 9216, 26, 8, 4, 256000, 8192, tied=True, head_dim=256), gated=True),
    KnownModel("gemma-2-9b", "google/gemma-2-9b-it",
        decoder_config("gemma2", 3584, 14336, 42, 16, 8, 256000, 8192, tied=True, head_dim=256), gated=True),
    KnownModel("gemma-3-1b", "google/gemma-3-1b-it",
        decoder_config("gemma3_text", 1152, 6912, 26, 4, 1, 262144, 32768, tied=True, head_dim=256), gated=True),
    KnownModel("phi-3-mini", "microsoft/Phi-3-mini-4k-instruct",
        decoder_config("phi3", 3072, 8192, 32, 32, 32, 32064, 4096, pad_token_id=32000)),
    KnownModel("phi-4", "microsoft/phi-4",
        decoder_config("phi3", 5120, 17920, 40, 40, 10, 100352, 16384, pad_token_id=100349)),
)  # fmt: skip
KNOWN: Mapping[str, KnownModel] = {model.name: model for model in _ROWS}


def known(name: str) -> KnownModel | None:
    """The model with that short name, in whatever case; None where there is none."""
    return KNOWN.get(name.lower())


def expanded(name: str) -> str:
    """The hub id that a short name stands for; any other name, or a folder here with that name, as it is.

    Raises ModelError for what looks like a short name misspelt.
    """
    if Path(name).exists():
        return name
    if found := known(name):
        return found.hub_id
    if "/" not in name and (near := difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.8)):
        raise ModelError(
            f"There is no short name {name}; did you mean {near[0]}?",
            "`ft models names` lists them; a hub id is OWNER/NAME.",
        )
    return name
