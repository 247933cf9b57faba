"""Rope scaling in GGUF: the keys and tensors by which llama.cpp reads long texts as transformers does."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.errors import ModelError
from engine.export.gguf.settings import Rope, Settings
from engine.models.tensors import Float32

Factors = Mapping[str, Float32]
"""Divisors of the rotary frequencies, by the name of the tensor that holds them."""


def rope_metadata(settings: Settings) -> dict[str, Any]:
    """The keys after `ARCHITECTURE.rope.`. Raises ModelError for a scaling that llama.cpp does not have."""
    rope, own = settings.rope, settings.rope.scaling or {}
    keys: dict[str, Any] = {"freq_base": rope.theta}
    match rope.type:
        case "default" | "llama3":
            return keys
        case "linear":
            return keys | {"scaling.type": "linear", "scaling.factor": float(own["factor"])}
        case "yarn":
            return keys | _yarn(settings, rope)
        case "longrope":
            stretch = settings.whole("max_position_embeddings") / _original(settings, rope)
            return keys | {
                "scaling.original_context_length": _original(settings, rope),
                "scaling.attn_factor": float(
                    own.get("attention_factor") or _longrope(stretch, settings, rope)
                ),
            }
    raise ModelError(
        f"llama.cpp has no rope scaling of type {rope.type}.",
        "Export it as merged, or as mlx.",
    )


def rope_factors(settings: Settings) -> Factors:
    """Tensors of frequency divisors `[rotated / 2]` for the scalings that have one for each frequency."""
    rope, own = settings.rope, settings.rope.scaling or {}
    if rope.type == "longrope":
        return {
            f"rope_factors_{name}.weight": np.asarray(own[f"{name}_factor"], np.float32)
            for name in ("long", "short")
        }
    return {"rope_freqs.weight": _llama3(settings, rope)} if rope.type == "llama3" else {}


def rotated(settings: Settings) -> int:
    """How many of a head's values are rotated."""
    return int(settings.head_width * (settings.rope.scaling or {}).get("partial_rotary_factor", 1.0))


def _yarn(settings: Settings, rope: Rope) -> dict[str, Any]:
    """YaRN's own attention factor, 0.1 ln(factor) + 1, is llama.cpp's too; another is not expressible there."""
    own = rope.scaling or {}
    factor = float(own["factor"])
    given = own.get("attention_factor")
    if given is not None and not math.isclose(given, 0.1 * math.log(factor) + 1, rel_tol=1e-3):
        raise ModelError(
            f"llama.cpp's YaRN has no attention_factor of {given:g}.",
            "Export it as merged, or as mlx.",
        )
    named = {"yarn_beta_fast": own.get("beta_fast"), "yarn_beta_slow": own.get("beta_slow")}
    return {
        "scaling.type": "yarn",
        "scaling.factor": factor,
        "scaling.original_context_length": _original(settings, rope),
        **{f"scaling.{name}": float(value) for name, value in named.items() if value is not None},
    }


def _original(settings: Settings, rope: Rope) -> int:
    """Tokens of the longest text of pretraining."""
    found = (rope.scaling or {}).get("original_max_position_embeddings")
    return int(found or settings.whole("max_position_embeddings"))


def _longrope(stretch: float, settings: Settings, rope: Rope) -> float:
    """LongRoPE's attention factor (arXiv 2402.13753, as Phi-3 has it): sqrt(1 + ln stretch / ln original)."""
    if stretch <= 1:
        return 1.0
    return math.sqrt(1 + math.log(stretch) / math.log(_original(settings, rope)))


def _llama3(settings: Settings, rope: Rope) -> Float32:
    """Llama 3.1's divisors: 1 for short waves, `factor` for long ones, and a smooth way between the two."""
    own = rope.scaling or {}
    factor, low, high = (float(own[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    width = rotated(settings)
    frequencies = rope.theta ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    turns = _original(settings, rope) * frequencies / (2 * math.pi)  # in the longest text of pretraining
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
