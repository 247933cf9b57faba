"""Weighted sum of several merged models on one base: W + Σ w (M - W), tensor by tensor.

For LoRA adapters this is PEFT's `cat`: the sum of the products B A, never the product of sums. It is exact for all that
can be merged (DoRA, trained embeddings), because it adds what each adapter changes. With weights that sum to 1 it is
the average of the models, which is how checkpoints are averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose

from engine.errors import ConfigError, ModelError
from engine.merging.merged import MergedTensors
from engine.merging.rows import Rows, Stored
from engine.models.tensors import Float32
from engine.models.weights import NUMBERS


@dataclass(frozen=True)
class WeightedSum:
    """W + Σ w (M - W)."""

    base: Rows
    parts: tuple[tuple[float, Rows], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def read(self, start: int, stop: int) -> Float32:
        values = self.base.read(start, stop)
        made = values.copy()
        for weight, rows in self.parts:
            change = rows.read(start, stop) - values
            change *= weight
            made += change
        return made


def weighted(models: Sequence[MergedTensors], weights: Sequence[float]) -> MergedTensors:
    """The sum of merged models. All are on the same base, or whole models whose weights sum to 1.

    Raises ConfigError where they are not, ModelError where they have other tensors or tokens.
    """
    first = models[0]
    whole = [model for model in models if not model.changed]
    if whole and (len(whole) < len(models) or not isclose(sum(weights), 1, abs_tol=1e-6)):
        raise ConfigError(
            "Whole models are averaged: adapters cannot be mixed with them, and the weights have to sum to 1.",
            "Give adapters alone, or weights as 0.5,0.5.",
        )
    numbers = [name for name, info in first.infos.items() if info.dtype in NUMBERS]
    names = numbers if whole else dict.fromkeys(name for model in models for name in model.changed)
    starts, changed = {}, {}
    for name in names:
        start = next((model.starts[name] for model in models if name in model.starts), None)
        base = start or Stored(first.base, name)
        parts = []
        for model, weight in zip(models, weights, strict=True):
            rows = _rows(model, name, base)
            if rows.shape != base.shape:
                raise ModelError(
                    f"{name} has {rows.shape} values in one of the models and {base.shape} in another.",
                    "Models that add other tokens, or are of other shapes, cannot be combined.",
                )
            if rows is not base:
                parts.append((weight, rows))
        changed[name] = WeightedSum(base, tuple(parts))
        if start is not None:
            starts[name] = start
    return MergedTensors(
        first.base,
        changed,
        first.dropped,
        any(model.untied for model in models),
        next((model.vocabulary for model in models if model.vocabulary), None),
        starts,
    )


def _rows(model: MergedTensors, name: str, base: Rows) -> Rows:
    """A model's own source of a tensor; for an output layer that is tied in it, the embedding's."""
    if name in model.changed:
        return model.changed[name]
    if not model.changed:  # whole
        if name not in model.infos:
            raise ModelError(f"One of the models has no {name}.", "Combine models of one architecture.")
        return model.rows(name)
    return model.changed.get(model.embedding, base) if name not in model.base.infos else base
