"""Backends: what computes. `load_backend` brings up the one that the plan chose, ft's own or another package's."""

from pathlib import Path

from engine.backends.base import Backend
from engine.capabilities import plugin
from engine.config.schema import TrainConfig
from engine.planning.plan import Plan


def load_backend(
    plan: Plan, config: TrainConfig, folder: Path, *, adapter: Path | None = None, training: bool = True
) -> Backend:
    """Load the model in `folder` as the plan says, with a fresh adapter or the one in `adapter`.

    Raises ModelError where the folder does not load and OutOfMemoryError where it does not fit.
    """
    if plan.backend == "unsloth":
        from engine.backends.unsloth.backend import UnslothBackend

        return UnslothBackend.load(plan, config, folder, adapter=adapter, training=training)
    if plan.backend == "mlx":
        from engine.backends.mlx.backend import MlxBackend

        return MlxBackend.load(plan, config, folder, adapter=adapter, training=training)
    if plan.backend != "peft":
        brought: Backend = plugin(plan.backend).load(plan, config, folder, adapter=adapter, training=training)
        return brought
    from engine.backends.torch.backend import TorchBackend

    return TorchBackend.load(plan, config, folder, adapter=adapter, training=training)
