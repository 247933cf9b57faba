"""A plan for a model alone: its config.json, and rows of one length in place of data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config.load import load_text
from engine.config.schema import TrainConfig
from engine.hardware.probe import Machine, probe
from engine.models import hub_facts
from engine.models.names import expanded, known
from engine.models.resolve import is_hub_id, on_disk
from engine.models.shape import ModelShape
from engine.models.sizing import shape_of
from engine.planning.backend_choice import choose_backend
from engine.planning.comparison import Comparison, compare
from engine.planning.feasibility import LONGEST, Load
from engine.planning.plan import Plan
from engine.planning.planner import make_plan


@dataclass(frozen=True)
class ModelPlan:
    """What it takes to train a model with rows of one length, by a recipe that says nothing else."""

    config: TrainConfig
    machine: Machine
    shape: ModelShape
    load: Load

    @staticmethod
    def of(model: str, changes: Sequence[str], tokens: int) -> "ModelPlan":
        """The plan for `starter`, a folder, a hub id or a short name; `changes` are KEY=VALUE of the recipe.

        Of a hub model that is not here, the config alone is fetched; of one with a short name, nothing. Raises
        RecipeError for a change that the recipe does not allow, HubError or ModelError where the model is not known.
        """
        text = f"model: {{max_seq_length: {max(tokens, LONGEST)}}}\ndata: {{train: starter}}\n"
        recipe = load_text(text, Path.cwd() / "train.yml", [f"model.base={expanded(model)}", *changes]).config
        named = known(model) if recipe.model.base == expanded(model) and not recipe.model.revision else None
        shape = named.shape if named else shape_of(_config_folder(recipe.model.base, recipe.model.revision))
        return ModelPlan(recipe, probe(), shape, Load(tokens))

    def one(self) -> Plan:
        """The plan of the backend that would train. Raises what `make_plan` raises."""
        return self._settle(self.config)

    def all(self) -> Comparison:
        """The plans of all backends, side by side."""
        return compare(self.config, self.machine, self.shape, self._settle)

    def _settle(self, config: TrainConfig) -> Plan:
        chosen = choose_backend(self.machine, config, self.shape)
        return make_plan(config, self.machine, chosen, self.shape, self.load.rows)


def _config_folder(base: str, revision: str | None) -> Path:
    """The folder of a model's config.json: the model's own, or what was fetched of it to judge it."""
    from engine.models import hub

    if is_hub_id(base) and hub.cached(base, revision) is None:
        return hub_facts.ask(base, revision).folder
    return on_disk(base, revision)
