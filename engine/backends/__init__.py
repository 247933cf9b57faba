"""Backends: what computes. `load_backend` brings up the one that the plan chose, ft's own or another package's."""

from pathlib import Path
from typing import TYPE_CHECKING

from engine.backend_spec import spec_of

if TYPE_CHECKING:  # a backend's spec is read while a plan is made
    from engine.backends.base import Backend
    from engine.config.schema import TrainConfig
    from engine.planning.plan import Plan


def load_backend(
    plan: "Plan", config: "TrainConfig", folder: Path, *, adapter: Path | None = None, training: bool = True
) -> "Backend":
    """Load the model in `folder` as the plan says, with a fresh adapter or the one in `adapter`.

    Raises ModelError where the folder does not load and OutOfMemoryError where it does not fit.
    """
    loaded: Backend = spec_of(plan.backend).load(plan, config, folder, adapter=adapter, training=training)
    return loaded
