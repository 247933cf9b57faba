"""Values of a config.json that no model can have, found before anything is planned with them."""

import importlib.util
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from engine import plugins
from engine.errors import ModelError
from engine.hardware.probe import mlx_architectures

AGAIN = "The file is not as its model's author published it; copy it again."
MOST: Mapping[str, int] = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 10_000),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"), 100_000
    ),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "head_dim"), 10_000_000),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim"), 100_000_000),
    "vocab_size": 1_000_000_000,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), 1_000_000_000),
}
"""Keys that are whole numbers from 1, and far more than any model has."""
POSITIVE = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "rope_theta", "initializer_range")
SWITCHES = ("tie_word_embeddings", "attention_bias", "mlp_bias", "use_cache")
TOKENS = ("eos_token_id", "bos_token_id", "pad_token_id")
MAPPINGS = ("rope_scaling", "rope_parameters", "quantization_config", "auto_map", "text_config")


def check_values(config: Mapping[str, Any], path: Path) -> None:
    """Raise ModelError, naming the key, for a value that no model can have; `path` is where the config stands."""
    _check_kind(config, path)
    _check_numbers(config, path)
    text = config.get("text_config")
    if isinstance(text, dict):
        _check_numbers(text, path)


def _check_kind(config: Mapping[str, Any], path: Path) -> None:
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise (
            _wrong(path, "model_type", kind, "it has to name an architecture, as llama")
            if kind
            else ModelError(f"{path} has no model_type.", AGAIN)
        )
    if "auto_map" in config or plugins.installed(plugins.BACKENDS):
        return  # its own code knows it, or a backend of another package may
    known = architectures()
    if known and kind not in known and kind not in mlx_architectures():
        raise ModelError(
            f"{path}: the installed transformers does not know the architecture {kind}.",
            "A newer transformers may: pip install -U transformers. Or take another model.",
        )


def _check_numbers(config: Mapping[str, Any], path: Path) -> None:
    for key, most in MOST.items():
        values = config.get(key)
        for value in values if isinstance(values, list) and values else [values]:  # some differ by layer
            if value is not None and not (_is_whole(value) and 1 <= value <= most):
                raise _wrong(path, key, value, f"it has to be a whole number from 1 to {most:,}")
    for key in POSITIVE:
        number = config.get(key)
        if number is not None and not (_is_number(number) and 0 <= number < math.inf):
            raise _wrong(path, key, number, "it has to be a positive number")
    for key in TOKENS:
        ids = config.get(key)
        if not all(map(_is_token, ids if isinstance(ids, list) else [ids])):
            raise _wrong(path, key, ids, "it has to be the id of a token, or a list of ids")
    for key in SWITCHES:
        if not isinstance(config.get(key), bool | None):
            raise _wrong(path, key, config[key], "it has to be true or false")
    for key in MAPPINGS:
        if not isinstance(config.get(key), dict | None):
            raise _wrong(path, key, config[key], "it has to be an object")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_token(value: object) -> bool:
    """Return True if it can be a token's id; -1 and null stand for none."""
    return value is None or (_is_whole(value) and -1 <= value < 1 << 31)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(path: Path, key: str, value: object, rule: str) -> ModelError:
    shown = repr(value)
    return ModelError(f"{path}: {key} is {shown if len(shown) < 40 else shown[:39] + '…'}; {rule}.", AGAIN)


@cache
def architectures() -> frozenset[str]:
    """Kinds of models that the installed transformers knows, read from its files without importing it."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return frozenset()
    tables = (Path(spec.origin).parent / "models" / "auto").glob("*auto*.py")
    texts = (
        path.read_text(encoding="utf-8") for path in tables if "config" in path.name or "mapping" in path.name
    )
    return frozenset(kind for text in texts for kind in re.findall(r'"([\w.-]+)"\s*[,:]\s*"\w+Config"', text))
