"""The adapter section of a recipe, and which of its keys each type of adapter has."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field

from engine.config.values import PositiveInt, Reference, Section, Switch, Text, Whole

AdapterType = Literal[
    "lora",
    "dora",
    "adalora",
    "ia3",
    "loha",
    "lokr",
    "oft",
    "boft",
    "vera",
    "prefix",
    "prompt",
    "ptuning",
    "none",
]
ADAPTER_TYPES: tuple[AdapterType, ...] = get_args(AdapterType)
PROMPT_TYPES: tuple[AdapterType, ...] = ("prefix", "prompt", "ptuning")
"""Those that train virtual tokens in front of every example, and change no layer."""
LOW_RANK: tuple[AdapterType, ...] = ("lora", "dora", "adalora", "loha", "lokr")
REUSABLE: tuple[AdapterType, ...] = tuple(
    kind for kind in ADAPTER_TYPES if kind not in ("adalora", "ptuning", "none")
)
"""Those that a run can start from: of AdaLoRA's the pruning is over, of P-tuning's the network is not saved."""
PEFT_TYPES: Mapping[str, AdapterType] = {
    "LORA": "lora",
    "ADALORA": "adalora",
    "IA3": "ia3",
    "LOHA": "loha",
    "LOKR": "lokr",
    "OFT": "oft",
    "BOFT": "boft",
    "VERA": "vera",
    "PREFIX_TUNING": "prefix",
    "PROMPT_TUNING": "prompt",
    "P_TUNING": "ptuning",
}
"""Our types by PEFT's names of them (`peft_type` in adapter_config.json), where DoRA is LoRA with a switch."""
FLOAT_ONLY: tuple[AdapterType, ...] = ("loha", "lokr", "boft")
"""Those that PEFT cannot put on quantised layers."""


class Adapter(Section):
    """Weights that are trained on top of the frozen ones."""

    type: AdapterType = "lora"
    """`lora`, another of PEFT's kinds of adapter, or `none` to train every weight."""
    from_: Reference | None = Field(default=None, alias="from")
    """Start from this adapter: a run, RUN@STEP, or a folder of PEFT's or mlx-lm's. Type, rank and more are its own."""
    rank: Annotated[int, Field(ge=1, le=1024), Whole] = 16
    """Rank of the update: a higher one learns more and uses more memory."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """Scale of the update: it is multiplied by alpha / rank."""
    rslora: Switch = False
    """Multiply the update by alpha / sqrt(rank): keeps high ranks (64 and more) learning."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the adapter's inputs dropped in training; with boft, of its blocks."""
    init: Literal["default", "gaussian", "orthogonal", "olora", "pissa", "loftq"] = "default"
    """Initialisation of a LoRA. `pissa` and `olora`: from the weights' own main parts; `loftq`: from what 4bit lost."""
    target_modules: Literal["all-linear"] | Annotated[list[Text], Field(min_length=1)] = "all-linear"
    """`all-linear`, or names of the layers that get an adapter, as [q_proj, v_proj]."""
    modules_to_save: list[Literal["embed_tokens", "lm_head"]] = Field(default=[])
    """Train these whole beside the adapter, and save them with it: the embedding, the output layer. They are large."""
    initial_rank: PositiveInt | None = None
    """Rank that adalora starts with and prunes down to `rank` on average; null is half as much again."""
    block_size: PositiveInt | None = None
    """Width of the blocks that oft (null: 32) and boft (null: 4) turn; it has to divide each layer's inputs."""
    virtual_tokens: PositiveInt = 20
    """Trained positions that prefix, prompt and ptuning put in front of every example."""
    encoder_size: PositiveInt | None = None
    """Width of the small network that makes ptuning's virtual tokens; null is the model's own."""

    @property
    def low_rank(self) -> bool:
        """True if this type has a `rank`."""
        return self.type in KEYS["rank"]


KEYS: dict[str, tuple[AdapterType, ...]] = {
    "from": REUSABLE,
    "rank": (*LOW_RANK, "vera"),
    "alpha": LOW_RANK,
    "rslora": ("lora", "dora"),
    "dropout": ("lora", "dora", "adalora", "boft", "vera"),
    "init": ("lora", "dora"),
    "target_modules": tuple(kind for kind in ADAPTER_TYPES if kind not in PROMPT_TYPES),
    "modules_to_save": ("lora", "dora"),
    "initial_rank": ("adalora",),
    "block_size": ("oft", "boft"),
    "virtual_tokens": PROMPT_TYPES,
    "encoder_size": ("ptuning",),
}
"""The types that have a key. With another type it must be left out, or stand at its default."""


def misplaced(adapter: Adapter) -> Iterator[tuple[str, str]]:
    """Keys that say something and that this type does not have, each with the reason."""
    if adapter.type == "none":  # a recipe that is switched to full training for once keeps its adapter's keys
        return
    for key, kinds in KEYS.items():
        field = f"{key}_" if key == "from" else key  # a word of Python's
        if adapter.type not in kinds and getattr(adapter, field) != Adapter.model_fields[field].default:
            *front, last = kinds
            whose = f"{', '.join(front)} and {last}" if front else last
            yield key, f"is a key of {whose}, and adapter.type is {adapter.type}; leave it out"
