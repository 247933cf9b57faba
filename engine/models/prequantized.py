"""Weights that a folder holds in few bits, packed by another program: which one, and what to train in their place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import ModelError

METHODS = {"gptq": "GPTQ", "awq": "AWQ", "aqlm": "AQLM", "exl2": "EXL2", "exl3": "EXL3"}
"""Formats made for answering, by `quant_method` of config.json; ft trains none of them through torch."""
MLX = "MLX"


@dataclass(frozen=True)
class Packed:
    """Quantization of a folder's weights by another program: `4-bit GPTQ`."""

    method: str
    bits: int | None

    @staticmethod
    def of(config: Mapping[str, Any]) -> "Packed | None":
        """Quantization from config.json; None for plain weights, or those that transformers can train on."""
        about = config.get("quantization_config") or config.get("quantization")
        if not isinstance(about, dict):
            return None
        bits = about.get("bits")
        told = bits if isinstance(bits, int) else None
        if "quant_method" not in about:
            return Packed(MLX, told) if "group_size" in about and told else None
        method = METHODS.get(str(about["quant_method"]).lower())
        return Packed(method, told) if method else None

    def __str__(self) -> str:
        return f"{self.bits}-bit {self.method}" if self.bits else self.method

    def refused(self, what: str) -> ModelError:
        """The error where torch is asked to compute with the model `what`."""
        if self.method == MLX:
            return ModelError(
                f"{what} is a folder of MLX, with {self} weights, which transformers cannot read.",
                "Use backend: mlx, or the model that it was converted from with model.quantization: 4bit.",
            )
        return ModelError(
            f"{what} has {self} weights, which are quantised for inference; ft does not train on them.",
            "Use the model that it was made from (its model card names it) with model.quantization: 4bit, "
            "which needs about as little memory.",
        )
