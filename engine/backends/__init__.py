"""Backends: what computes. `load_trainer` brings up the one that the plan chose, ft's own or another package's."""

from pathlib import Path
from typing import TYPE_CHECKING

from engine.backend_spec import spec_of

if TYPE_CHECKING:  # a backend's spec is read while a plan is made
    from engine.backends.base import Trainer
    from engine.config.schema import TrainConfig
    from engine.objectives.base import Objective
    from engine.planning.plan import Plan


def load_trainer(
    plan: "Plan",
    config: "TrainConfig",
    folder: Path,
    objective: "Objective | None" = None,
    *,
    adapter: Path | None = None,
) -> "Trainer":
    """Load the model in `folder` as the plan says, with a fresh adapter or the one in `adapter`.

    `objective` is what is learned; supervised fine-tuning where it is left out.
    Raises ModelError where the folder does not load and OutOfMemoryError where it does not fit.
    """
    if objective is None:
        from engine.objectives.sft import Supervised

        objective = Supervised()
    trainer: Trainer = spec_of(plan.backend).load(plan, config, folder, objective, adapter=adapter)
    return trainer
