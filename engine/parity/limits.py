"""Limits of the parity gate: what an export may differ from the trained model in, by the precision of its weights.

From measurement: `docs/export.md` has the figures, and `python -m benchmarks.parity` makes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models.local import dtype_of


@dataclass(frozen=True)
class Limits:
    """Least share of decided places with the same likeliest token, and largest mean divergence in nats a token."""

    precision: str
    top1: float
    kl_mean: float


LIMITS: Mapping[str, tuple[float, float]] = {
    "f32": (0.99, 1e-4),
    "f16": (0.99, 1e-3),
    "bf16": (0.97, 5e-3),
    "q8_0": (0.93, 0.02),
    "8bit": (0.93, 0.02),
    "q6_k": (0.90, 0.1),
    "q5_k_m": (0.90, 0.2),
    "q5_k_s": (0.90, 0.2),
    "q5_1": (0.90, 0.4),
    "q5_0": (0.90, 0.4),
    "q4_k_m": (0.85, 0.4),
    "q4_k_s": (0.85, 0.4),
    "q4_1": (0.80, 0.4),
    "q4_0": (0.80, 0.4),
    "4bit": (0.80, 0.4),
    "q3_k_l": (0.75, 0.5),
    "q3_k_m": (0.75, 0.5),
    "q3_k_s": (0.70, 0.9),
    "q2_k": (0.70, 0.9),
}
"""By precision: top-1 agreement at decided places, and mean divergence.

About three times the worst that was measured of both, or more, on rows of the task, and not looser for more bits; at
most half of the divergence of the base without what was trained, which for `q3_k_s` leaves twice the worst. From 6 bits
up, they leave room for general text as well.
"""
OTHERWISE = "f16"
"""The precision of an export that says nothing of it."""
NAMES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "fp32": "f32", "fp16": "f16"}


def precision_of(facts: Mapping[str, Any], out: Path) -> str:
    """The precision of an export's weights: `quantization` or `dtype` of the facts about it, else that of its files.

    MLX's settings of a quantisation are a mapping with `bits`.
    """
    told = facts.get("quantization") or facts.get("dtype") or _held(out)
    name = f"{told['bits']}bit" if isinstance(told, Mapping) else str(told).lower()
    return NAMES.get(name, name)


def _held(out: Path) -> str:
    try:
        return dtype_of(out)
    except ModelError:  # it holds no whole model
        return OTHERWISE


def limits_of(precision: str) -> Limits:
    """The limits of a precision; those of f16 for one that the table does not have."""
    return Limits(precision, *LIMITS.get(precision, LIMITS[OTHERWISE]))
