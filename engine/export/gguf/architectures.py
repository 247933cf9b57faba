"""Architectures that GGUF export knows: what llama.cpp calls them, and how their weights lie in its files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.errors import ModelError
from engine.export.gguf.rope import rope_metadata, rotated
from engine.export.gguf.settings import Settings

Keys = Mapping[str, Any]
"""Values by key, without the architecture's name in front: whole numbers, floats or booleans."""


@dataclass(frozen=True)
class Architecture:
    """A family of models as llama.cpp computes it."""

    name: str
    """llama.cpp's name of it: the value of `general.architecture`, and the first part of its keys."""
    more: Callable[[Settings], Keys] = lambda settings: {}
    """Keys that it has besides those that all have."""
    permuted: bool = False
    """True if Q and K lie with each rotated pair side by side, and not, as in transformers, its halves apart."""
    norm_offset: float = 0.0
    """Added to the weights of norms, where transformers adds it in the computation."""
    transposed: tuple[str, ...] = ()
    """Ends of names of matrices that transformers holds as `[inputs, outputs]` (GPT-2's Conv1D)."""
    rotary: bool = True
    """False if positions are an embedding of their own."""
    activations: tuple[str, ...] = ("silu", "swish")
    """Activations that it computes, whatever config.json says."""
    tied: bool = False
    """True if it has no output layer besides the embedding."""
    defaults: Keys = field(default_factory=dict)
    """Values of what a config.json may leave out, as transformers has them."""
    obstacle: Callable[[Settings], str] = lambda settings: ""
    """Reason that a model of the family is computed otherwise there; empty where it is not."""

    def check(self, settings: Settings) -> None:
        """Raise ModelError where llama.cpp would compute another model than this one."""
        activation = (
            settings.get("hidden_activation")
            or settings.get("hidden_act")
            or settings.get("activation_function", self.activations[0])
        )
        reason = self.obstacle(settings)
        if activation not in self.activations:
            reason = f"its activation is {activation}, and there it is {self.activations[0]}"
        if self.tied and settings.tied is False:
            reason = "it has an output layer of its own, and there it is the embedding"
        if reason:
            raise ModelError(
                f"llama.cpp computes {self.name} otherwise than this model: {reason}.",
                "Export it as merged, or as mlx.",
            )

    def metadata(self, settings: Settings) -> Keys:
        """Its keys and values. Raises ModelError where config.json lacks one."""
        keys: dict[str, Any] = {
            "block_count": settings.layers,
            "context_length": settings.whole("max_position_embeddings", "n_positions", "n_ctx"),
            "embedding_length": settings.width,
            "feed_forward_length": int(settings.get("intermediate_size", 4 * settings.width)),
            "attention.head_count": settings.heads,
            "attention.head_count_kv": settings.kv_heads,
        }
        if self.rotary:
            keys |= {
                "attention.layer_norm_rms_epsilon": float(settings.get("rms_norm_eps", 1e-6)),
                "attention.key_length": settings.head_width,
                "attention.value_length": settings.head_width,
                "rope.dimension_count": rotated(settings),
                **{f"rope.{key}": value for key, value in rope_metadata(settings).items()},
            }
        if settings.experts:
            keys |= {
                "expert_count": settings.experts,
                "expert_used_count": settings.whole("num_experts_per_tok"),
            }
        return {f"{self.name}.{key}": value for key, value in (keys | dict(self.more(settings))).items()}


def _gemma2(settings: Settings) -> Keys:
    return {
        "attn_logit_softcapping": float(settings.get("attn_logit_softcapping")),
        "final_logit_softcapping": float(settings.get("final_logit_softcapping")),
        "attention.sliding_window": settings.whole("sliding_window"),
    }


def _gemma3(settings: Settings) -> Keys:
    return {
        "attention.sliding_window": settings.whole("sliding_window"),
        "rope.freq_base_swa": settings.local_rope.theta,
    }


def _phi3(settings: Settings) -> Keys:
    """A window of 0 tells Phi-4, which has none, from the first Phi-3, whose files say nothing of theirs."""
    return {"attention.sliding_window": int(settings.get("sliding_window", 0))}


def _gpt2(settings: Settings) -> Keys:
    return {
        "attention.head_count_kv": settings.heads,
        "feed_forward_length": int(settings.get("n_inner") or 4 * settings.width),
        "attention.layer_norm_epsilon": float(settings.get("layer_norm_epsilon", 1e-5)),
    }


def _query_scale(largest: int) -> Callable[[Settings], str]:
    """Gemma's scale of the queries: by the width of a head, in the model of `largest` layers by width / heads."""

    def obstacle(settings: Settings) -> str:
        expected = settings.width // settings.heads if settings.layers == largest else settings.head_width
        scale = settings.get("query_pre_attn_scalar", expected)
        return "" if scale == expected else f"query_pre_attn_scalar is {scale}, and there it is {expected}"

    return obstacle


def _pattern(step: int) -> Callable[[Settings], str]:
    """Layers with a sliding window: all but every `step`-th."""

    def obstacle(settings: Settings) -> str:
        kinds = settings.get("layer_types") or []
        expected = [
            ("full" if index % step == step - 1 else "sliding") + "_attention" for index in range(len(kinds))
        ]
        return (
            "" if list(kinds) == expected else f"not every {step}th of its layers alone sees the whole text"
        )

    return obstacle


def _uncapped(settings: Settings) -> str:
    return "it caps the scores of attention" if settings.get("attn_logit_softcapping") else ""


def _first(*obstacles: Callable[[Settings], str]) -> Callable[[Settings], str]:
    return lambda settings: next(filter(None, (obstacle(settings) for obstacle in obstacles)), "")


def _smollm3(settings: Settings) -> str:
    rotary = settings.get("no_rope_layers") or []
    expected = [int(index % 4 != 3) for index in range(len(rotary))]
    return "" if list(rotary) == expected else "its layers without positions are not every fourth"


def _qwen3moe(settings: Settings) -> str:
    if not settings.get("norm_topk_prob", False):
        return "the weights of the chosen experts are not normalised (norm_topk_prob: false)"
    sparse = settings.get("decoder_sparse_step", 1) == 1 and not settings.get("mlp_only_layers")
    return "" if sparse else "some of its layers have no experts"


def _gpt2_attention(settings: Settings) -> str:
    unscaled = not settings.get("scale_attn_weights", True) or settings.get(
        "scale_attn_by_inverse_layer_idx", False
    )
    return "its attention is scaled otherwise" if unscaled else ""


GEMMA2_LARGEST, GEMMA3_LARGEST = 46, 62
"""Layers of the 27B models, whose queries are scaled otherwise."""
TANH_GELU = ("gelu_pytorch_tanh", "gelu_new")
LLAMA = Architecture("llama", permuted=True)
ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "mixtral": LLAMA,
    "smollm3": Architecture("smollm3", permuted=True, obstacle=_smollm3),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "qwen3_moe": Architecture(
        "qwen3moe",
        more=lambda settings: {"expert_feed_forward_length": settings.whole("moe_intermediate_size")},
        obstacle=_qwen3moe,
    ),
    "gemma": Architecture(
        "gemma", norm_offset=1.0, activations=TANH_GELU, tied=True, defaults={"head_dim": 256}
    ),
    "gemma2": Architecture(
        "gemma2",
        norm_offset=1.0,
        activations=TANH_GELU,
        tied=True,
        more=_gemma2,
        defaults={
            "head_dim": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 4096,
            "query_pre_attn_scalar": 256,
        },
        obstacle=_first(_query_scale(GEMMA2_LARGEST), _pattern(2)),
    ),
    "gemma3_text": Architecture(
        "gemma3",
        norm_offset=1.0,
        activations=TANH_GELU,
        more=_gemma3,
        defaults={
            "head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 131072,
            "sliding_window": 4096, "rope_theta": 1e6, "rope_local_base_freq": 1e4, "query_pre_attn_scalar": 256,
        },
        obstacle=_first(_query_scale(GEMMA3_LARGEST), _pattern(6), _uncapped),
    ),
    "phi3": Architecture("phi3", more=_phi3),
    "gpt2": Architecture(
        "gpt2",
        rotary=False,
        activations=TANH_GELU,
        transposed=("c_attn.weight", "c_proj.weight", "c_fc.weight"),
        more=_gpt2,
        obstacle=_gpt2_attention,
    ),
}  # fmt: skip
"""By `model_type` of config.json."""


def problem(config: Mapping[str, Any]) -> str | None:
    """The reason for which a model of this config.json cannot be a GGUF file; None where it can."""
    try:
        known(Settings.of(config))
    except ModelError as error:
        return error.message
    return None


def known(settings: Settings) -> tuple[Architecture, Settings]:
    """The architecture of a model, and its settings with the architecture's defaults.

    Raises ModelError where GGUF export does not know it, or llama.cpp would compute another model.
    """
    found = ARCHITECTURES.get(settings.kind)
    if found is None:
        raise ModelError(
            f"ft writes no GGUF files of the architecture {settings.kind}.",
            f"Export it as merged, or as mlx. GGUF has {', '.join(ARCHITECTURES)}.",
        )
    whole = replace(settings, defaults=found.defaults)
    found.check(whole)
    if found.rotary:
        rope_metadata(whole)  # which refuses a scaling that is not there
    return found, whole
