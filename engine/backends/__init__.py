"""Backends: what computes. `load_trainer` brings up the one that the plan chose, ft's own or another package's."""

from pathlib import Path

from engine.backends.base import Trainer
from engine.capabilities import plugin
from engine.config.schema import TrainConfig
from engine.objectives.base import Objective
from engine.objectives.sft import Supervised
from engine.planning.plan import Plan


def load_trainer(
    plan: Plan,
    config: TrainConfig,
    folder: Path,
    objective: Objective | None = None,
    *,
    adapter: Path | None = None,
) -> Trainer:
    """Load the model in `folder` as the plan says, with a fresh adapter or the one in `adapter`.

    `objective` is what is learned; supervised fine-tuning where it is left out.
    Raises ModelError where the folder does not load and OutOfMemoryError where it does not fit.
    """
    objective = objective or Supervised()
    if plan.backend == "mlx":
        from engine.backends.mlx.causal_lm import MlxModel
        from engine.backends.mlx.trainer import MlxTrainer

        return MlxTrainer(MlxModel.load(plan, config, folder, adapter), config, objective)
    if plan.backend not in ("peft", "unsloth"):
        brought: Trainer = plugin(plan.backend).load(plan, config, folder, objective, adapter=adapter)
        return brought
    from engine.backends.torch.trainer import TorchTrainer

    if plan.backend == "unsloth":
        from engine.backends.unsloth.causal_lm import UnslothModel

        return TorchTrainer(UnslothModel.load(plan, config, folder, adapter), config, objective)
    from engine.backends.torch.causal_lm import TorchModel

    return TorchTrainer(TorchModel.load(plan, config, folder, adapter), config, objective)
