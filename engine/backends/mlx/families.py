"""Differences between mlx-lm's code of a model and transformers' folder of it: names, layouts, rotation, windows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from engine.errors import ModelError
from engine.models.mismatch import Mismatch, refuse_foreign_weights
from engine.models.mlx_names import TRANSFORMERS_PREFIX
from engine.models.mlx_names import mlx_name as mlx_name
from engine.models.mlx_names import transformers_name as transformers_name

ALL_LAYERS_SLIDE = ("mistral", "mixtral", "phi3", "starcoder2")
"""Families whose `sliding_window` holds for all layers; mlx-lm attends to everything there."""
EVERY_OTHER_SLIDES = ("gemma2",)
"""Families whose layers slide in turn, the first one does; mlx-lm has one mask for all of them."""
TRANSPOSED = {"gpt2": ("c_attn", "c_proj", "c_fc")}
"""Layers that transformers holds as `[inputs, outputs]` (its Conv1D), and PEFT therefore marks fan_in_fan_out."""


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for mlx-lm besides a model's config.json, in the names that it reads.

    transformers 5 leaves out some names, and writes the rotation as `rope_parameters`, where mlx-lm's older
    models read `rope_theta` and `rope_scaling`: without this they would silently rotate by their defaults.
    """
    found: dict[str, Any] = {}
    rope = config.get("rope_parameters") or {}
    if "full_attention" in rope:
        found["rope_local_base_freq"] = rope.get("sliding_attention", rope["full_attention"])["rope_theta"]
        rope = rope["full_attention"]
    for name in ("rope_theta", "partial_rotary_factor"):
        if name in rope:
            found[name] = rope[name]
    kind = rope.get("rope_type", "default")
    if kind != "default":
        found["rope_scaling"] = {**rope, "type": kind}
    renamed = {
        "_sliding_window_pattern": "sliding_window_pattern",
        "n_positions": "n_ctx",
        "num_local_experts": "num_experts",
    }
    found |= {own: config[name] for name, own in renamed.items() if name in config}
    found = {name: value for name, value in found.items() if config.get(name) is None}
    if (every := _every_which_sees_all(config)) is not None:
        found["sliding_window_pattern"] = every
    if text := config.get("text_config"):  # of a model that sees; its vocabulary is looked for outside
        found["text_config"] = {**text, **settings(text)}
        if "vocab_size" in text and "vocab_size" not in config:
            found["vocab_size"] = text["vocab_size"]
    return found


def _every_which_sees_all(config: Mapping[str, Any]) -> int | None:
    """Number n where every n-th layer of a Gemma 3 sees the whole row; None where the config does not say.

    mlx-lm knows no other order, and does not read `layer_types`, which transformers goes by
    (findings/mlx_lm_gemma3_layers.sh). Raises ModelError for an order without such a number.
    """
    kinds = config.get("layer_types")
    if config.get("model_type") not in ("gemma3_text", "gemma3") or not kinds:
        return None
    sees_all = [kind == "full_attention" for kind in kinds]
    every = sees_all.index(True) + 1 if any(sees_all) else len(kinds) + 1
    if sees_all != [number % every == 0 for number in range(1, len(kinds) + 1)]:
        raise ModelError(
            "The layers of this Gemma 3 see far and near in an order that mlx-lm has no code for.",
            "Use backend: peft, which follows layer_types in config.json.",
        )
    return every


def windows_of(config: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The sliding window of each layer, None for one that sees the whole row; empty where mlx-lm knows by itself."""
    kind, window = config.get("model_type"), config.get("sliding_window")
    layers = range(config.get("num_hidden_layers", 0))
    if not window or kind not in ALL_LAYERS_SLIDE + EVERY_OTHER_SLIDES:
        return ()
    if kind in ALL_LAYERS_SLIDE:
        return tuple(window for _ in layers)
    # transformers writes which layers slide since version 4.52; before, it was known by their number.
    types = config.get("layer_types") or [("sliding_attention", "full_attention")[i % 2] for i in layers]
    return tuple(window if kind == "sliding_attention" else None for kind in types)


def is_transposed(kind: str, path: str) -> bool:
    """Return True if transformers holds this layer's weight as `[inputs, outputs]`."""
    return path.rpartition(".")[2] in TRANSPOSED.get(kind, ())


def hooks(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Arguments of `mlx_lm.utils.load_model`: the model's class, with the names and windows that mlx-lm does not have.

    Its weights have to be exactly those in `folder`: loading raises ModelError where they are not.
    """
    kind, windows = config["model_type"], windows_of(config)
    prefix = TRANSFORMERS_PREFIX.get(kind)
    from mlx_lm.models.cache import KVCache, RotatingKVCache
    from mlx_lm.utils import _get_classes  # what load_model takes where it is not told

    classes: tuple[Any, Any] = _get_classes(dict(config))
    known: Any = classes[0]

    class Strict(known):
        def load_weights(self, weights: Sequence[tuple[str, mx.array]], strict: bool = True) -> Any:
            if not strict:  # an adapter's, which mlx-lm puts on a model that is there
                return super().load_weights(list(weights), strict=False)
            own = {name: value.shape for name, value in tree_flatten(self.parameters())}
            found = {name: value.shape for name, value in weights}
            refuse_foreign_weights(folder, Mismatch.between(found, own))
            return super().load_weights([(name, value) for name, value in weights if name in own], strict)

    class Model(Strict):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            if kind in EVERY_OTHER_SLIDES:
                for layer in self.layers:
                    layer.__class__ = _masked_alone(type(layer))

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            bare = {name.removeprefix(prefix or ""): value for name, value in weights.items()}
            return super().sanitize(bare) if hasattr(known, "sanitize") else bare

        def make_cache(self) -> list[Any]:
            of_layers = windows or [None for _ in self.layers]
            return [RotatingKVCache(max_size=window) if window else KVCache() for window in of_layers]

    needed = windows or prefix or kind in EVERY_OTHER_SLIDES
    return {"get_model_classes": lambda config: (Model if needed else Strict, classes[1])}


def _masked_alone(kind: Any) -> type:
    """A layer that asks its own cache for the mask, which knows its window, and not the first layer's."""
    from mlx_lm.models.base import create_attention_mask

    class Masked(kind):
        def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
            mask = create_attention_mask(x, cache, return_array=True)
            if mask is not None and mask.ndim == 4 and self.self_attn.repeats > 1:
                mask = mask[:, :, None]  # heads that share keys have an axis of their own there
            return kind.__call__(self, x, mask, cache)

    return Masked
