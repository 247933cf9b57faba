"""ModelCard: all that a card says of trained weights, as values. `render` writes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ADAPTER, MODEL = "adapter", "model"
"""Formats of a run's own result; the others are names of exporters."""


@dataclass(frozen=True)
class Base:
    """The model that was trained, by the name that others know it by."""

    name: str
    revision: str | None = None
    licence: str | None = None
    """As its own card or licence file has it; None where neither says."""

    @property
    def on_hub(self) -> bool:
        """True if the name is an id of the hub; a local folder is written `./name`."""
        return not self.name.startswith((".", "/"))


@dataclass(frozen=True)
class AdapterFacts:
    """Kind of the adapter, as recipes name it, and what decides which programs can load it."""

    kind: str
    rank: int | None = None
    whole_modules: tuple[str, ...] = ()
    """Modules that are saved whole beside it."""
    added_tokens: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataFacts:
    """Rows that were trained, named without folders or secrets."""

    sources: tuple[str, ...]
    hub_datasets: tuple[str, ...] = ()
    examples: int | None = None
    trained_tokens: int | None = None
    """Of one epoch."""
    tokens: int | None = None
    fingerprint: str | None = None
    """sha256 over the tokens of all rows."""


@dataclass(frozen=True)
class TrainingFacts:
    """How the weights were trained."""

    method: str
    step: int | None
    """Step of the weights."""
    steps: int
    epochs: float
    batch: int
    """Examples a step."""
    learning_rate: float
    precision: str
    place: str
    """Backend and device: `peft on cpu`."""


@dataclass(frozen=True)
class Score:
    """One score of the weights. `before` is the untrained model's, on the same rows."""

    metric: str
    value: float
    rows: str
    """Rows that it was computed on, in words."""
    before: float | None = None
    interval: tuple[float, float] | None = None
    """Confidence interval, 95 %."""


@dataclass(frozen=True)
class ExportFacts:
    """What an exporter says of the files it wrote, and what was proved of them; `proof` None: nothing was."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    proof: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ModelCard:
    """A card. What is not known is None or empty, and left out."""

    title: str
    format: str
    """`adapter` or `model` for a run's result, else the exporter's name."""
    base: Base
    location: str = ""
    """Hub id of the repository that the card is for; empty where the folder is used from disk."""
    adapter: AdapterFacts | None = None
    """None where every weight was trained."""
    training: TrainingFacts | None = None
    data: DataFacts | None = None
    recipe: str = ""
    scores: tuple[Score, ...] = ()
    picture: str = ""
    """File name of the losses' picture beside the card."""
    versions: Mapping[str, str] = field(default_factory=dict)
    export: ExportFacts | None = None
    files: tuple[str, ...] = ()
    """Names of the files beside the card."""
    has_template: bool = True
    """False where the model has no chat template, so that prompts are plain text."""
