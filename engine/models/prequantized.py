"""Weights that a folder holds in few bits, packed by another program: which one, and what to train in their place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.errors import ModelError
from engine.storage.regular_files import read_bytes

METHODS = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "aqlm": "AQLM",
    "exl2": "EXL2",
    "exl3": "EXL3",
    "fp8": "FP8",
    "fbgemm_fp8": "FP8",
    "compressed-tensors": "compressed-tensors",
    "hqq": "HQQ",
    "quanto": "Quanto",
    "eetq": "EETQ",
    "higgs": "HIGGS",
    "bitnet": "BitNet",
    "vptq": "VPTQ",
    "spqr": "SpQR",
    "auto-round": "AutoRound",
}
"""Formats made for answering, by `quant_method` of config.json; ft trains none of them through torch."""
MLX, BITSANDBYTES = "MLX", "bitsandbytes"
EXPANDED = {"mxfp4": "MXFP4"}
"""Formats that transformers widens to bf16 as it loads them, where it has no kernels that train on them."""
CARD_BYTES = 1 << 20


@dataclass(frozen=True)
class Held:
    """Linear layers that a folder holds in bitsandbytes' formats, on which torch trains as on those it makes itself."""

    bits: Literal[4, 8]
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = False

    @staticmethod
    def of(config: Mapping[str, Any]) -> "Held | None":
        """Format by config.json; None for weights that bitsandbytes does not hold."""
        about = config.get("quantization_config")
        if not isinstance(about, dict) or about.get("quant_method") != BITSANDBYTES:
            return None
        if about.get("load_in_8bit") or about.get("_load_in_8bit"):
            return Held(8)
        kind: Literal["nf4", "fp4"] = "fp4" if about.get("bnb_4bit_quant_type") == "fp4" else "nf4"
        return Held(4, kind, about.get("bnb_4bit_use_double_quant") is True)

    @property
    def quantization(self) -> Literal["4bit", "8bit"]:
        """Value of `model.quantization` that describes it."""
        return "4bit" if self.bits == 4 else "8bit"


@dataclass(frozen=True)
class Packed:
    """Quantization of a folder's weights by another program: `4-bit GPTQ`."""

    method: str
    bits: int | None
    made_from: str | None = None
    """The unquantised model, where the model card names one."""

    @staticmethod
    def of(config: Mapping[str, Any], made_from: str | None = None) -> "Packed | None":
        """Quantization from config.json; None for plain weights, or those that transformers can train on."""
        about = config.get("quantization_config") or config.get("quantization")
        if not isinstance(about, dict):
            return None
        bits = about.get("bits")
        told = bits if isinstance(bits, int) else None
        if "quant_method" not in about:
            return Packed(MLX, told, made_from) if "group_size" in about and told else None
        method = METHODS.get(str(about["quant_method"]).lower())
        return Packed(method, told, made_from) if method else None

    def __str__(self) -> str:
        return f"{self.bits}-bit {self.method}" if self.bits else self.method

    def refused(self, what: str) -> ModelError:
        """The error where torch is asked to compute with the model `what`."""
        if self.method == MLX:
            source = self.made_from or "the model that it was converted from"
            return ModelError(
                f"{what} is a folder of MLX, with {self} weights, which transformers cannot read.",
                f"Use backend: mlx, or {source} with model.quantization: 4bit.",
            )
        source = self.made_from or "the model that it was made from (its model card names it)"
        return ModelError(
            f"{what} has {self} weights, which are quantised for inference; ft does not train on them.",
            f"Use {source} with model.quantization: 4bit, which needs about as little memory.",
        )


def expanded(config: Mapping[str, Any]) -> str | None:
    """Format of weights that take more memory once they are loaded, as bf16; None where they stay as they are."""
    about = config.get("quantization_config")
    return EXPANDED.get(str(about.get("quant_method")).lower()) if isinstance(about, dict) else None


def is_quantised(config: Mapping[str, Any]) -> bool:
    """True where the folder's tensors are not the model's matrices themselves, whichever format they are in."""
    return isinstance(config.get("quantization_config") or config.get("quantization"), dict)


def made_from(folder: Path) -> str | None:
    """`base_model` of the model card in a folder: the hub id of the model that this one was made from."""
    try:
        text = read_bytes(folder / "README.md", CARD_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    found = (
        re.search(r"^base_model:[ \t]*(?:\n[ \t]*-[ \t]*)?[\"']?([\w.-]+/[\w.-]+)", head[1], re.M)
        if head
        else None
    )
    return found[1] if found else None
