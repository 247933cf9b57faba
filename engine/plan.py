"""A recipe, a machine, a model and its examples settle into one plan; every choice carries its reason."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Fits = Literal["yes", "tight", "no"]


@dataclass(frozen=True)
class MemoryPlan:
    """Predicted peak bytes of the engine by part, on the device that trains."""

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    overhead: int

    @property
    def peak_bytes(self) -> int:
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Plan:
    """All that a backend and the loop need to know and a person may ask about, settled before anything loads."""

    backend: Literal["peft"]
    device: Literal["cpu", "cuda", "mps"]
    weights_dtype: Literal["bf16", "fp16", "fp32"]
    """How unquantised weights are held."""
    compute_dtype: Literal["bf16", "fp16", "fp32"]
    """What products are computed in; fp32 on a CPU without bf16 instructions, whatever the weights are."""
    attention: Literal["sdpa", "flash_attention_2", "eager"]
    packing: bool
    """Lay a micro-batch's examples end to end in one row, without padding."""
    micro_batch_rows: int
    """Most examples in a micro-batch."""
    micro_batch_tokens: int
    """Most tokens in a micro-batch (padding counted); one longer example still goes alone."""
    effective_batch_size: int
    gradient_checkpointing: bool
    epochs: float
    steps: int
    examples: int
    tokens_per_epoch: int
    trained_tokens_per_epoch: int
    longest: int
    """Tokens of the longest example."""
    seconds: float | None
    """Estimated training time; None where nothing is known of this machine's speed."""
    memory: MemoryPlan
    limit_bytes: int
    """What the device can give to the engine."""
    fits: Fits
    sampled: bool
    """True where token counts are estimated from a sample of the rows."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why, by the name of the choice: backend, precision, batch, packing, checkpointing, attention, memory…"""
    advice: tuple[str, ...] = ()
    """The cheapest changes that would make it fit, best first; empty where it fits."""

    def to_json(self) -> str:
        body = asdict(self)
        body["memory"]["peak_bytes"] = self.memory.peak_bytes
        return json.dumps(body, indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str) -> "Plan":
        body: dict[str, Any] = json.loads(text)
        body["memory"].pop("peak_bytes", None)
        body["memory"] = MemoryPlan(**body["memory"])
        body["advice"] = tuple(body["advice"])
        return Plan(**body)
