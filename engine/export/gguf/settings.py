"""Settings: what a language model's config.json says, whichever release of transformers wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models.local import read_config

ROPE_ELSEWHERE = (
    "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "short_factor",
    "long_factor", "attention_factor", "beta_fast", "beta_slow", "partial_rotary_factor",
)  # fmt: skip
"""Keys of a rotary embedding besides its type and base."""


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding: its base, and how it is scaled for texts longer than those of pretraining."""

    theta: float
    type: str = "default"
    """`default`, `linear`, `yarn`, `llama3`, `longrope`, or another that llama.cpp does not know."""
    scaling: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Settings:
    """A config.json, with the defaults of its architecture for what it leaves out."""

    values: Mapping[str, Any]
    folder: Path
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(folder: Path) -> "Settings":
        """The settings of the model in a folder; of a multimodal one, those of its language model.

        Raises ModelError where config.json cannot be read.
        """
        return Settings.of(read_config(folder), folder)

    @staticmethod
    def of(config: Mapping[str, Any], folder: Path = Path()) -> "Settings":
        """The settings of a config.json that was read; `folder` is named in errors."""
        text = config.get("text_config")
        return Settings({**config, **text} if isinstance(text, dict) else config, folder)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key: the file's, the architecture's default, or the given one."""
        value = self.values.get(name)
        return self.defaults.get(name, default) if value is None else value

    def whole(self, *names: str) -> int:
        """The whole number under the first of these keys that is there. Raises ModelError where there is none."""
        for name in names:
            value = self.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        raise ModelError(
            f"{self.folder / 'config.json'} does not say {names[0]}.",
            "Copy the file from the model's source again.",
        )

    @property
    def layers(self) -> int:
        return self.whole("num_hidden_layers", "n_layer")

    @property
    def width(self) -> int:
        """Length of a token's vector."""
        return self.whole("hidden_size", "n_embd")

    @property
    def heads(self) -> int:
        return self.whole("num_attention_heads", "n_head")

    @property
    def kv_heads(self) -> int:
        return int(self.get("num_key_value_heads", self.heads))

    @property
    def head_width(self) -> int:
        return int(self.get("head_dim", self.width // self.heads))

    @property
    def experts(self) -> int:
        """Number of experts a layer; 0 for a dense model."""
        return int(self.get("num_local_experts", self.get("num_experts", 0)))

    @property
    def kind(self) -> str:
        """transformers' name of the architecture, as `qwen3_moe`."""
        return str(self.values.get("model_type", ""))

    @property
    def tied(self) -> bool | None:
        """True if it says that the output layer is the embedding; None where it says nothing."""
        return self.values.get("tie_word_embeddings")

    @cached_property
    def rope(self) -> Rope:
        """The rotary embedding of layers that see the whole text."""
        return self._rope("full_attention", self.get("rope_theta", 10000.0))

    @cached_property
    def local_rope(self) -> Rope:
        """The rotary embedding of layers with a sliding window."""
        return self._rope("sliding_attention", self.get("rope_local_base_freq", self.rope.theta))

    def _rope(self, layers: str, theta: float) -> Rope:
        """Of transformers 5 (`rope_parameters`, one or one for each kind of layer) or 4 (`rope_scaling`)."""
        found = self.values.get("rope_parameters")
        if isinstance(found, Mapping):
            own = found.get(layers, found)
            if not isinstance(own, Mapping):
                own = {}
            theta = own.get("rope_theta", theta)
        else:
            own = (self.values.get("rope_scaling") or {}) if layers == "full_attention" else {}
        kind = str(own.get("rope_type", own.get("type", "default")))
        known = {name: own[name] for name in ROPE_ELSEWHERE if own.get(name) is not None}
        known.setdefault("original_max_position_embeddings", self.get("original_max_position_embeddings"))
        known.setdefault("partial_rotary_factor", self.get("partial_rotary_factor", 1.0))
        return Rope(float(theta), {"su": "longrope"}.get(kind, kind), known)
