"""The models on this machine, each with what it is and whether it can be trained here."""

from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import FtError, ModelError
from engine.hardware.probe import Machine, probe
from engine.models import catalogue
from engine.models.card import Card, card_of
from engine.models.catalogue import Entry
from engine.planning.feasibility import TYPICAL, Fit, Load, fits_of


@dataclass(frozen=True)
class Model:
    """One model. Without a `card` there is nothing to read yet, or `problem` says why it cannot be read."""

    entry: Entry
    card: Card | None = None
    fits: tuple[Fit, ...] = ()
    problem: FtError | None = None


@dataclass
class TrainableModels:
    """A reader of all models; what it has read of a folder is cached until its config.json changes."""

    _cards: dict[tuple[Path, int], Card] = field(default_factory=dict)

    def list(self) -> tuple[Model, ...]:
        """All models, the starter first; memory is what is free now. Reads headers only, so it is quick."""
        machine = probe()
        return tuple(self._one(entry, machine) for entry in catalogue.entries())

    def of(self, entry: Entry, load: Load = TYPICAL) -> Model:
        """One model, with the memory that rows as in `load` take."""
        return self._one(entry, probe(), load)

    def on(self, entry: Entry, machine: Machine, load: Load) -> Model:
        """One model, on a machine of one's choice."""
        return self._one(entry, machine, load)

    def _one(self, entry: Entry, machine: Machine, load: Load = TYPICAL) -> Model:
        try:
            card = self._card(entry)
        except ModelError as error:
            return Model(entry, problem=error)
        return Model(entry, card, fits_of(card.shape, machine, load) if card else ())

    def _card(self, entry: Entry) -> Card | None:
        if entry.folder is None or (entry.state == "incomplete" and entry.source == "hub"):
            return None
        config = entry.folder / "config.json"
        key = (entry.folder, config.stat().st_mtime_ns if config.exists() else 0)
        if key not in self._cards:
            self._cards[key] = card_of(entry.folder)
        return self._cards[key]
