"""An adapter's folder as it lies on disk, PEFT's or mlx-lm's: what it is, read without torch or MLX."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.config.adapters import PEFT_TYPES, REUSABLE, Adapter
from engine.config.combinations import impossible
from engine.config.schema import TrainConfig
from engine.errors import ConfigError, ModelError
from engine.models import adapter_files, starter
from engine.models.local import headers
from engine.models.weight_headers import Header, read_header

PREFIX = "base_model.model."
"""PEFT's prefix of a layer's path."""
TYPES = {name: ours for name, ours in PEFT_TYPES.items() if ours in REUSABLE and ours != "lora"}
"""PEFT's types that a run can start from, besides LoRA, by our names."""
NOT_REUSABLE = {
    "ADALORA": "AdaLoRA has pruned it, and its pruning schedule is over",
    "P_TUNING": "the network that made its virtual tokens is not saved with it",
}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "loha": {"rank": "r", "alpha": "alpha"},
    "lokr": {"rank": "r", "alpha": "alpha"},
    "vera": {"rank": "r"},
    "oft": {"block_size": "oft_block_size"},
    "boft": {"block_size": "boft_block_size"},
    "prefix": {"virtual_tokens": "num_virtual_tokens"},
    "prompt": {"virtual_tokens": "num_virtual_tokens"},
}
"""Our keys, and PEFT's names for them, by type."""
VOCABULARY = ("embed_tokens", "lm_head")
"""Names of embedding and output layer in recipes."""
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "tok_embeddings", "word_embeddings")
"""Names of the embedding in models."""
LORA_PARTS = re.compile(r"(?P<layer>.+)\.(?:lora_A|lora_B)\.weight|(?P<mlx>.+)\.lora_[ab]")
CACHE = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
"""Pattern of a model's folder in the hub's cache."""


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter that a run starts from."""

    folder: Path
    layout: Literal["peft", "mlx"]
    settings: Mapping[str, Any]
    """The keys of a recipe's section `adapter` that it fixes, by the names of `Adapter`'s fields."""
    base: str
    """The model that it says it was trained on; empty where it does not say."""
    tensors: Header
    tied: bool = False
    """True if a matrix of the vocabulary that it trains is saved under both of its names."""
    token_ids: tuple[int, ...] = ()
    """Tokens whose rows it trains."""
    tokens: tuple[str, ...] = ()
    """Texts of the tokens that were added for it, as a tokenizer beside it or the run that made it says."""

    @property
    def parameters(self) -> int:
        """Numbers that it trains."""
        twice = f"{PREFIX}{VOCABULARY[-1]}."
        return sum(
            tensor.size for tensor in self.tensors if not (self.tied and tensor.name.startswith(twice))
        )

    @property
    def weights(self) -> Path:
        return self.folder / (adapter_files.WEIGHTS if self.layout == "peft" else adapter_files.MLX_WEIGHTS)

    @property
    def fingerprint(self) -> str:
        """sha256 of its settings and weights."""
        return adapter_files.fingerprint(self.folder)

    def is_of(self, base: str) -> bool:
        """True if `model.base` of a recipe names the adapter's own base, as far as names can show."""
        return not self.base or _model_name(self.base) == _model_name(base)

    def check_tokens(self, added: Mapping[int, str]) -> None:
        """Raise ModelError where the tokens that are added to the model, by id, are not those that it has rows for."""
        if self.token_ids and added.keys() != set(self.token_ids):
            ours = ", ".join(f"{text} ({id_})" for id_, text in sorted(added.items())) or "none"
            ids = ", ".join(map(str, self.token_ids))
            raise ModelError(
                f"{self.folder}: the adapter has rows for the tokens {ids}, and the run adds {ours}",
                "Name in model.add_tokens the tokens that it was trained with, in their order.",
            )

    def check(self, model: Path) -> None:
        """Raise ModelError where the weights in the folder `model` have other shapes than it was trained on.

        Only names that both have are compared; a backend that loads it looks at all of them.
        """
        shapes = {tensor.name: tensor for header in headers(model).values() for tensor in header}
        for layer, (inputs, outputs) in _layers(self.tensors).items():
            weight = shapes.get(f"{layer}.weight")
            if weight is None or weight.dtype not in ("F64", "F32", "F16", "BF16") or len(weight.shape) != 2:
                continue  # under another name there, or quantised
            if sorted(weight.shape) != sorted((inputs, outputs)):
                raise ModelError(
                    f"{self.folder}: the adapter is for another model: {layer} has {inputs} inputs and {outputs} "
                    f"outputs there, and {' by '.join(map(str, weight.shape))} weights in {model}",
                    f"Use the model that it was trained on{f': {self.base}' if self.base else ''}.",
                )


def read_adapter(folder: Path) -> SavedAdapter:
    """The adapter in a folder. Raises ModelError where there is none, or one that cannot be trained further."""
    about = adapter_files.read_settings(folder)
    weights = adapter_files.weights_file(folder, about)
    try:
        if "peft_type" in about:
            settings = _peft_settings(about)
            layout: Literal["peft", "mlx"] = "peft"
        else:
            settings, layout = _mlx_settings(about), "mlx"
        tensors = read_header(weights)
        if targets := _targets(tensors, about.get("target_modules")):
            settings["target_modules"] = targets
        ids = _token_ids(about)
        tied = bool(about.get("ensure_weight_tying") and settings.get("modules_to_save"))
        base = adapter_files.base_named(about)
        return SavedAdapter(folder, layout, settings, base, tensors, tied, ids, _texts(folder, ids))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        wrong = f"{adapter_files.CONFIG} lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{folder}: no run can start from this adapter: {wrong}",
            "Use a complete folder written by PEFT, mlx-lm or ft.",
        ) from error


def adopted(config: TrainConfig, start: SavedAdapter | None) -> TrainConfig:
    """The recipe with what the adapter fixes in its section `adapter`.

    Raises ConfigError where it says otherwise of a key.
    """
    if start is None:
        return config
    ours = config.adapter
    against = [
        f"adapter.{key}: {_shown(getattr(ours, key))}, and the adapter in {start.folder} has {_shown(value)}"
        for key, value in start.settings.items()
        if key in ours.model_fields_set and not _same(key, getattr(ours, key), value, start.tied)
    ]
    if ours.init != "default":
        against.append(
            f"adapter.init: {ours.init}, and the adapter in {start.folder} has its start behind it"
        )
    if against:
        raise ConfigError(
            "\n".join(against), "Leave those keys out: with adapter.from they are the adapter's own."
        )
    changed = config.model_copy(update={"adapter": ours.model_copy(update=dict(start.settings))})
    if start.tokens and not config.model.add_tokens:
        model = config.model.model_copy(update={"add_tokens": list(start.tokens)})
        changed = changed.model_copy(update={"model": model})
    if start.token_ids and not changed.model.add_tokens:
        raise ConfigError(
            f"model.add_tokens: the adapter in {start.folder} has rows for the tokens "
            f"{', '.join(map(str, start.token_ids))}, and no tokenizer beside it says what they are",
            "Name them in model.add_tokens, in their order.",
        )
    if problems := impossible(changed):
        raise ConfigError(
            "\n".join(problems), f"The adapter in {start.folder} is of type {changed.adapter.type}."
        )
    return changed


def _same(key: str, ours: Any, theirs: Any, tied: bool) -> bool:
    if key == "target_modules":
        return ours == "all-linear" or set(ours) == set(theirs)
    if key == "modules_to_save":
        return bool(ours) if tied else set(ours) == set(theirs)
    default = Adapter.model_fields[key].default
    return bool(ours == theirs or (key == "block_size" and ours == default))


def _shown(value: Any) -> str:
    return (
        f"[{', '.join(value)}]"
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _peft_settings(about: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(about["peft_type"])
    if kind in NOT_REUSABLE:
        raise ValueError(NOT_REUSABLE[kind])
    if kind != "LORA":
        if kind not in TYPES:
            raise ValueError(f"ft does not train the type {kind}")
        own = {ours: about[theirs] for ours, theirs in SETTINGS.get(TYPES[kind], {}).items()}
        return {"type": TYPES[kind]} | {
            key: float(value) if key == "alpha" else int(value) for key, value in own.items()
        }
    start = about.get("init_lora_weights", True)
    if start not in (True, False, "gaussian", "orthogonal", "eva", "loftq"):
        raise ValueError(
            f"it starts from weights that {start} changed, and was not converted to a LoRA of the published ones"
        )
    if about.get("bias", "none") != "none" or about.get("lora_bias"):
        raise ValueError("it trains biases, which ft does not")
    return {
        "type": "dora" if about.get("use_dora") else "lora",
        "rank": int(about["r"]),
        "alpha": float(about["lora_alpha"]),
        "rslora": bool(about.get("use_rslora")),
        "modules_to_save": _whole(about.get("modules_to_save") or []),
    }


def _whole(names: Sequence[str]) -> list[str]:
    """The recipe's names of the layers that are trained whole, out of a model's own."""
    found = set()
    for name in names:
        last = name.rpartition(".")[2]
        if last not in EMBEDDINGS and last not in VOCABULARY:
            raise ValueError(f"it trains {name} whole, which ft does not")
        found.add(VOCABULARY[last not in EMBEDDINGS])
    return [name for name in VOCABULARY if name in found]


def _token_ids(about: Mapping[str, Any]) -> tuple[int, ...]:
    indices = about.get("trainable_token_indices") or []
    lists = indices.values() if isinstance(indices, dict) else [indices]
    return tuple(sorted({int(id_) for of_one in lists for id_ in of_one}))


def _texts(folder: Path, ids: tuple[int, ...]) -> tuple[str, ...]:
    """Texts of these tokens in the tokenizer beside an adapter; empty where there is none, or it lacks one."""
    path = folder / "tokenizer.json"
    if not ids or not path.is_file():
        return ()
    added = json.loads(path.read_bytes()).get("added_tokens") or []
    known = {token["id"]: str(token["content"]) for token in added}
    return tuple(known[id_] for id_ in ids) if known.keys() >= set(ids) else ()


def _mlx_settings(about: Mapping[str, Any]) -> dict[str, Any]:
    kind = about.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora"):
        raise ValueError(f"it holds whole weights (fine_tune_type: {kind}), not an adapter")
    parameters = about["lora_parameters"]
    rank = int(parameters["rank"])
    return {
        "type": kind,
        "rank": rank,
        "alpha": float(parameters["scale"]) * rank,
        "rslora": False,
    }


def _targets(tensors: Header, named: Any) -> list[str]:
    """Names of the adapted layers: as its tensors tell, else as its settings list them; none behind virtual tokens."""
    found = {layer.rpartition(".")[2] for layer in _layers(tensors)}
    return sorted(found or (map(str, named) if isinstance(named, list) else ()))


def _layers(tensors: Header) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each layer with a low-rank update, by its path in the model."""
    sides: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        if found := LORA_PARTS.fullmatch(tensor.name):
            layer = (found["layer"] or found["mlx"]).removeprefix(PREFIX)
            first = ".lora_A." in tensor.name or tensor.name.endswith(".lora_a")
            axis = 1 if first == (found["layer"] is not None) else 0
            sides.setdefault(layer, {})["inputs" if first else "outputs"] = tensor.shape[axis]
    return {layer: (both["inputs"], both["outputs"]) for layer, both in sides.items()}


def _model_name(base: str) -> str:
    """A name to compare by: OWNER/NAME of a cache's folder, else the last part of a path or an id."""
    if cached := CACHE.search(base):
        return cached[2].lower()
    name = Path(base).name.lower()
    return Path(starter.PUBLISHED_AS).name.lower() if name == starter.NAME else name
