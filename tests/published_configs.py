"""Values of published config.json files that a model's size depends on, and its number of parameters.

A tied matrix counts once, which the page of a model on the hub may not do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.models.names import KNOWN, decoder_config


@dataclass(frozen=True)
class Published:
    """A model on the hub: the facts of its config.json, and its parameters."""

    config: Mapping[str, Any]
    parameters: int
    active: int | None = None
    """Parameters that a token goes through, of a mixture of experts."""


def decoder(
    kind: str, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, vocab: int, **more: Any
) -> Mapping[str, Any]:
    """A decoder whose context does not matter here."""
    return decoder_config(kind, hidden, intermediate, layers, heads, kv_heads, vocab, 4096, **more)


def encoder(
    architecture: str, kind: str, hidden: int, layers: int, heads: int, **more: Any
) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    } | more


def gpt2(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "n_embd": hidden,
        "n_layer": layers,
        "n_head": heads,
        "n_positions": 1024,
        "vocab_size": 50257,
    }


def pythia(hidden: int, layers: int, heads: int, vocab: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vocab_size": vocab,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
    }


TIED: dict[str, Any] = {"tied": True}
SHORT_NAMES = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "smollm3-3b": 3_075_098_624,
    "gpt2": 124_439_808,
    "tinyllama-1.1b": 1_100_048_384,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.3-70b": 70_553_706_496,
    "mistral-7b": 7_248_023_552,
    "mistral-nemo-12b": 12_247_782_400,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-0.6b": 596_049_920,
    "qwen3-8b": 8_190_735_360,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-3-1b": 999_885_952,
    "phi-3-mini": 3_821_079_552,
    "phi-4": 14_659_507_200,
}
"""Parameters of the models that have a short name."""
MODELS: dict[str, Published] = {
    **{name: Published(KNOWN[name].config, parameters) for name, parameters in SHORT_NAMES.items()},
    "Llama-2-7b": Published(decoder("llama", 4096, 11008, 32, 32, 32, 32000), 6_738_415_616),
    "Llama-2-13b": Published(decoder("llama", 5120, 13824, 40, 40, 40, 32000), 13_015_864_320),
    "Llama-2-70b": Published(decoder("llama", 8192, 28672, 80, 64, 8, 32000), 68_976_648_192),
    "Yi-34B": Published(decoder("llama", 7168, 20480, 60, 56, 8, 64000), 34_388_917_248),
    "Mistral-7B-v0.1": Published(decoder("mistral", 4096, 14336, 32, 32, 8, 32000), 7_241_732_096),
    "gemma-2b": Published(
        decoder("gemma", 2048, 16384, 18, 8, 1, 256000, head_dim=256, **TIED), 2_506_172_416
    ),
    "gemma-7b": Published(
        decoder("gemma", 3072, 24576, 28, 16, 16, 256000, head_dim=256, **TIED), 8_537_680_896
    ),
    "gemma-2-27b": Published(
        decoder("gemma2", 4608, 36864, 46, 32, 16, 256000, head_dim=128, **TIED), 27_227_128_320
    ),
    "phi-2": Published(decoder("phi", 2560, 10240, 32, 32, 32, 51200), 2_779_683_840),
    "gpt2-xl": Published(gpt2(1600, 48, 25), 1_557_611_200),
    "gpt-j-6b": Published(
        {
            "model_type": "gptj", "n_embd": 4096, "n_layer": 28, "n_head": 16, "n_positions": 2048,
            "rotary_dim": 64, "vocab_size": 50400, "tie_word_embeddings": False,
        },
        6_050_882_784,
    ),
    "pythia-160m": Published(pythia(768, 12, 12, 50304), 162_322_944),
    "pythia-12b": Published(pythia(5120, 36, 40, 50688), 11_846_072_320),
    "opt-125m": Published(
        {
            "model_type": "opt", "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "word_embed_proj_dim": 768, "vocab_size": 50272,
            "max_position_embeddings": 2048,
        },
        125_239_296,
    ),
    "bloom-560m": Published(
        {"model_type": "bloom", "hidden_size": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 250880},
        559_214_592,
    ),
    "falcon-7b": Published(
        {
            "model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71,
            "multi_query": True, "parallel_attn": True, "bias": False, "alibi": False, "vocab_size": 65024,
        },
        6_921_720_704,
    ),
    "starcoder2-3b": Published(
        decoder("starcoder2", 3072, 12288, 30, 24, 2, 49152, use_bias=True, **TIED), 3_030_371_328
    ),
    "stablelm-2-1.6b": Published(
        decoder("stablelm", 2048, 5632, 24, 32, 32, 100352, use_qkv_bias=True), 1_644_515_328
    ),
    "granite-3.1-2b": Published(decoder("granite", 2048, 8192, 40, 32, 8, 49155, **TIED), 2_533_531_648),
    "OLMo-2-7B": Published(decoder("olmo2", 4096, 11008, 32, 32, 32, 100352), 7_298_617_344),
    "Mixtral-8x7B": Published(
        decoder(
            "mixtral", 4096, 14336, 32, 32, 8, 32000, num_local_experts=8, num_experts_per_tok=2
        ),
        46_702_792_704,
        12_879_925_248,
    ),
    "Qwen3-30B-A3B": Published(
        decoder(
            "qwen3_moe", 2048, 6144, 48, 32, 4, 151936,
            head_dim=128, moe_intermediate_size=768, num_experts=128, num_experts_per_tok=8,
        ),
        30_532_122_624,
        3_353_032_704,
    ),
    "Qwen1.5-MoE-A2.7B": Published(
        decoder(
            "qwen2_moe", 2048, 5632, 24, 16, 16, 151936,
            moe_intermediate_size=1408, shared_expert_intermediate_size=5632,
            num_experts=60, num_experts_per_tok=4,
        ),
        14_315_784_192,
    ),
    "OLMoE-1B-7B": Published(
        decoder("olmoe", 2048, 1024, 16, 16, 16, 50304, num_experts=64, num_experts_per_tok=8),
        6_919_161_856,
    ),
    "gpt-oss-20b": Published(
        decoder(
            "gpt_oss", 2880, 2880, 24, 64, 8, 201088,
            head_dim=64, num_local_experts=32, num_experts_per_tok=4,
        ),
        20_914_757_184,
    ),
    "bert-base-uncased": Published(
        encoder("BertForMaskedLM", "bert", 768, 12, 12, vocab_size=30522), 109_514_298
    ),
    "bert-large-uncased": Published(
        encoder("BertForMaskedLM", "bert", 1024, 24, 16, vocab_size=30522), 335_174_458
    ),
    "roberta-base": Published(
        encoder(
            "RobertaForMaskedLM", "roberta", 768, 12, 12,
            vocab_size=50265, max_position_embeddings=514, type_vocab_size=1,
        ),
        124_697_433,
    ),
    "xlm-roberta-base": Published(
        encoder(
            "XLMRobertaForMaskedLM", "xlm-roberta", 768, 12, 12,
            vocab_size=250002, max_position_embeddings=514, type_vocab_size=1,
        ),
        278_295_186,
    ),
    "distilbert-base-uncased": Published(
        {
            "architectures": ["DistilBertForMaskedLM"], "model_type": "distilbert", "dim": 768,
            "hidden_dim": 3072, "n_layers": 6, "n_heads": 12, "vocab_size": 30522,
        },
        66_985_530,
    ),
    "ModernBERT-base": Published(
        encoder(
            "ModernBertForMaskedLM", "modernbert", 768, 22, 12, intermediate_size=1152, vocab_size=50368
        ),
        149_655_232,
    ),
}  # fmt: skip
