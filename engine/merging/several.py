"""Several trained models as one: their weighted sum, or one of PEFT's other methods for LoRA adapters."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import ConfigError
from engine.merging.adapter import LoraAdapter, read_lora
from engine.merging.base import MergeBase, base_for
from engine.merging.combined import weighted
from engine.merging.merged import MergedTensors, merged_tensors
from engine.merging.plain_lora import METHODS, PRUNING, Layers, concatenated, distance, layers_of, save
from engine.models.local import read_config
from engine.runs.directory.trained_model import TrainedModel

DENSITY = 0.5
"""Share of values that pruning keeps where nothing is said."""


def numbers(text: str) -> list[float]:
    """Weights as a person writes them, with commas between them. Raises ConfigError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"{text} is not a list of numbers.", "Write commas between them, as 0.7,0.3."
        ) from None


@dataclass(frozen=True)
class Combination:
    """Trained models on one base, the weight of each, and the method by which their updates become one."""

    models: tuple[TrainedModel, ...]
    weights: tuple[float, ...]
    method: str = "cat"
    density: float | None = None
    """Share of values that TIES, DARE and magnitude pruning keep."""
    rank: int | None = None
    """Rank of an SVD's result; None for the largest of the adapters."""
    seed: int = 0
    """Of what DARE drops."""

    @staticmethod
    def of(models: Sequence[TrainedModel], options: Mapping[str, object]) -> "Combination":
        """From an exporter's options `weights`, `method`, `density`, `rank` and `seed`. Raises ConfigError."""
        weights = options.get("weights") or [1 / len(models)] * len(models)
        assert isinstance(weights, list)
        made = Combination(
            tuple(models),
            tuple(map(float, weights)),
            str(options.get("method") or "cat"),
            None if options.get("density") is None else float(str(options["density"])),
            None if options.get("rank") is None else int(str(options["rank"])),
            int(str(options.get("seed") or 0)),
        )
        made.check()
        return made

    def check(self) -> None:
        """Raise ConfigError for a method that there is not, or values that do not go with it."""
        if len(self.weights) != len(self.models):
            raise ConfigError(
                f"--weights has {len(self.weights)} numbers for {len(self.models)} models.",
                "Give one for each, with commas between them: --weights 0.5,0.5.",
            )
        if self.method not in METHODS:
            raise ConfigError(f"There is no method {self.method}.", f"Use {', '.join(METHODS)}.")
        if self.density is not None and (self.method not in PRUNING or not 0 < self.density <= 1):
            raise ConfigError(
                f"--density {self.density:g} does not go with --method {self.method}.",
                f"It is the share of values that is kept, above 0 and up to 1, with {', '.join(PRUNING)}.",
            )
        if self.rank is not None and (not self.method.endswith("svd") or self.rank < 1):
            raise ConfigError(
                f"--rank {self.rank} does not go with --method {self.method}.",
                "It is the rank of the result of svd and the methods that end in it.",
            )

    def base(self) -> MergeBase:
        """The base of all of them. Raises ConfigError where they have different ones."""
        found = [base_for(model) for model in self.models]
        for model, base in zip(self.models, found, strict=True):
            if model.adapter is not None and base.folder != found[0].folder:
                raise ConfigError(
                    f"The models have different bases: {found[0].folder} and {base.folder}.",
                    "Adapters are combined on the base that all of them were trained on.",
                )
        return found[0]

    @contextmanager
    def tensors(self, base: Path) -> Iterator[tuple[MergedTensors, float]]:
        """Full weights of the combination, and its distance from the weighted sum, for the length of the block.

        Raises ConfigError where the method does not take these adapters, ModelError where one cannot be merged.
        """
        if self.method == "cat" and list(self.weights) == [1]:
            yield merged_tensors(self.models[0], base), 0.0
        elif self.method == "cat":
            folders = [base if model.adapter else model.base_folder() for model in self.models]
            merged = [merged_tensors(*each) for each in zip(self.models, folders, strict=True)]
            yield weighted(merged, self.weights), 0.0
        else:
            with tempfile.TemporaryDirectory(prefix="ft-merge-") as folder:
                apart = self.write_adapter(base, Path(folder))
                yield merged_tensors(replace(self.models[0], adapter=Path(folder)), base), apart

    def write_adapter(self, base: Path, folder: Path) -> float:
        """Write the combination as one LoRA in PEFT's layout; its distance from the weighted sum.

        Raises ConfigError where the adapters are more than LoRA of linear layers, or the method does not take them.
        """
        adapters = self._adapters(base)
        what = f"--method {self.method}" if self.method != "cat" else "--adapter-out"
        layers = [layers_of(adapter, what) for adapter in adapters]
        exact = concatenated(layers, self.weights)
        made = exact if self.method == "cat" else self._by_peft(layers)
        save(made, adapters[0], folder)
        return distance(made, exact) if made is not exact else 0.0

    def _by_peft(self, layers: Sequence[Layers]) -> Layers:
        from engine.backends.torch.combine import combine

        density = (self.density or DENSITY) if self.method in PRUNING else None
        made: Layers = combine(
            layers, self.weights, self.method, density=density, rank=self.rank, seed=self.seed
        )
        return made

    def _adapters(self, base: Path) -> list[LoraAdapter]:
        kind = str(read_config(base).get("model_type"))
        found = []
        for model in self.models:
            if model.adapter is None:
                raise ConfigError(
                    f"{model.base} is a whole model, not an adapter.",
                    "Average whole models with --method cat.",
                )
            found.append(read_lora(model.adapter, kind))
        return found
