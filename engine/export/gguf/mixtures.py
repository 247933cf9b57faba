"""Mixtures: which type each tensor of a quantised file gets, as llama.cpp's own quantiser chooses.

The rules are those of `llama_tensor_get_type` and `tensor_type_fallback` in llama.cpp's src/llama-quant.cpp, without an
importance matrix.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.errors import ConfigError

BLOCKS: Mapping[str, tuple[int, int]] = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q8_0": (32, 34), "Q5_1": (32, 24), "Q5_0": (32, 22),
    "Q4_1": (32, 20), "Q4_0": (32, 18), "Q6_K": (256, 210), "Q5_K": (256, 176), "Q4_K": (256, 144),
    "Q3_K": (256, 110), "Q2_K": (256, 84),
}  # fmt: skip
"""Weights in a block of a type, and bytes of one."""
FALLBACKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""Types for rows that are no whole number of 256 weights; F16 where they are none of 32 either."""
PLAIN = ("f32", "f16", "bf16", "q8_0")
"""Quantisations of one type for all matrices."""
MIXTURES: Mapping[str, str] = {
    "q5_0": "Q5_0", "q5_1": "Q5_1", "q4_0": "Q4_0", "q4_1": "Q4_1", "q2_k": "Q2_K", "q3_k_s": "Q3_K",
    "q3_k_m": "Q3_K", "q3_k_l": "Q3_K", "q4_k_s": "Q4_K", "q4_k_m": "Q4_K", "q5_k_s": "Q5_K", "q5_k_m": "Q5_K",
    "q6_k": "Q6_K",
}  # fmt: skip
"""Quantisations of several types, and the type that most of their tensors have."""
QUANTIZATIONS = (*PLAIN, *MIXTURES)
FILE_TYPES: Mapping[str, int] = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11,
    "q3_k_m": 12, "q3_k_l": 13, "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "bf16": 32,
}  # fmt: skip
"""`general.file_type` (llama.cpp's llama_ftype)."""
ALWAYS_F32 = ("_norm.weight", "ffn_gate_inp.weight", "position_embd.weight")
"""Ends of names of matrices that llama.cpp computes with in fp32 alone."""
LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class Shape:
    """What the choice of types depends on besides a tensor's name."""

    layers: int
    heads_per_kv_head: int
    experts: int
    tied: bool
    """True if the file has no output layer besides the embedding."""


@dataclass(frozen=True)
class Chosen:
    """Types of tensors by name, and how many got another one than the mixture's, because of their widths."""

    types: Mapping[str, str]
    fallbacks: Mapping[str, int]
    """Tensors by `WANTED to GOT`."""


def chosen(
    quantization: str, shapes: Mapping[str, tuple[int, ...]], model: Shape, k_types: bool = True
) -> Chosen:
    """The types of the tensors of a model, by their names and shapes (rows last).

    Without `k_types`, the output layer of q4_0 and its like is Q8_0 where llama.cpp has Q6_K.
    """
    wanted_most = MIXTURES.get(quantization, "")
    count = sum("attn_v.weight" in name or "attn_qkv.weight" in name for name in shapes)
    order = sorted((name for name in shapes if _is_value(name)), key=_layer)
    places = {name: index for index, name in enumerate(order)}
    types: dict[str, str] = {}
    fallbacks: Counter[str] = Counter()
    for name, shape in shapes.items():
        if len(shape) < 2 or not name.endswith(".weight") or name.endswith(ALWAYS_F32):
            types[name] = "F32"
            continue
        wanted = quantization.upper()
        if quantization in MIXTURES:
            wanted = _mixed(quantization, name, shape, model, places.get(name, 0), count)
        types[name] = _that_fits(wanted, shape[-1])
        if not k_types and not is_k(wanted_most):
            types[name] = FALLBACKS.get(types[name], types[name])
        if types[name] != wanted:
            fallbacks[f"{wanted} to {types[name]}"] += 1
    return Chosen(types, dict(fallbacks))


def is_k(kind: str) -> bool:
    """True for a type of blocks of 256 weights, which libgguf makes and gguf does not."""
    return kind.endswith("_K")


def bytes_of(kind: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor of a type."""
    weights, size = BLOCKS[kind]
    total = 1
    for length in shape:
        total *= length
    return total // weights * size


def require(quantization: str) -> str:
    """The quantisation of that name, in small letters. Raises ConfigError where there is none."""
    name = quantization.lower()
    if name not in QUANTIZATIONS:
        raise ConfigError(
            f"GGUF has no quantization {quantization!r}.", f"It is one of {', '.join(QUANTIZATIONS)}."
        )
    return name


def _that_fits(kind: str, width: int) -> str:
    """The type itself, or the one that llama.cpp takes in its place for rows of that width."""
    if width % BLOCKS[kind][0]:
        kind = FALLBACKS.get(kind, "F16")
    return kind if width % BLOCKS[kind][0] == 0 else "F16"


def _mixed(
    quantization: str, name: str, shape: tuple[int, ...], model: Shape, place: int, values: int
) -> str:
    """The type of a tensor in a mixture, before its width is looked at."""
    base = MIXTURES[quantization]
    if name == "output.weight" or (model.tied and name == "token_embd.weight"):
        return "Q8_0" if shape[-1] % BLOCKS[base][0] else "Q6_K"
    eight = model.experts == 8
    if _is_value(name):
        return "Q8_0" if eight else _value(quantization, place, values, model)
    if "attn_k.weight" in name and eight:
        return "Q8_0"
    if "ffn_down" in name:
        down = DOWN.get(quantization)
        return down(_layer(name), model.layers) if down else base
    if "attn_output.weight" in name:
        return EIGHT_OUTPUT.get(quantization, base) if eight else OUTPUT.get(quantization, base)
    return base


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _value(quantization: str, place: int, values: int, model: Shape) -> str:
    """The type of a value projection, the `place`-th of them."""
    match quantization:
        case "q2_k":
            return "Q4_K" if model.heads_per_kv_head >= 4 else "Q3_K"
        case "q3_k_m":
            return "Q5_K" if place < 2 else "Q4_K"
        case "q3_k_l":
            return "Q5_K"
        case "q4_k_s":
            return "Q5_K" if place < 4 else "Q4_K"
        case "q4_k_m" | "q5_k_m" if _more_bits(place, values):
            return "Q6_K"
    return MIXTURES[quantization]


DOWN: Mapping[str, Callable[[int, int], str]] = {
    "q2_k": lambda layer, layers: "Q3_K",
    "q3_k_m": lambda layer, layers: "Q5_K" if layer < layers // 16 else "Q4_K",
    "q3_k_l": lambda layer, layers: "Q5_K",
    "q4_k_s": lambda layer, layers: "Q5_K" if layer < layers // 8 else "Q4_K",
    "q4_k_m": lambda layer, layers: "Q6_K" if _more_bits(layer, layers) else "Q4_K",
    "q5_k_m": lambda layer, layers: "Q6_K" if _more_bits(layer, layers) else "Q5_K",
}
"""The type of the last matrix of an MLP, by its layer and how many there are."""
OUTPUT = {"q2_k": "Q3_K", "q3_k_m": "Q4_K", "q3_k_l": "Q5_K"}
EIGHT_OUTPUT = dict.fromkeys(("q2_k", "q3_k_s", "q3_k_m", "q4_k_s", "q4_k_m"), "Q5_K")
"""The type of attention's last matrix, in most models and in those of eight experts."""


def _is_value(name: str) -> bool:
    return "attn_v.weight" in name or "attn_qkv.weight" in name


def _layer(name: str) -> int:
    found = LAYER.match(name)
    return int(found[1]) if found else 0
