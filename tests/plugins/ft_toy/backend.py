"""A backend: torch's, with a trainer that says in the log when it takes a step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.backends.torch.spec import SPEC
from engine.config.schema import TrainConfig


def load(plan: Any, config: TrainConfig, folder: Path, objective: Any, *, adapter: Path | None = None) -> Any:
    """The trainer. What is heavy is imported here, in the engine's process."""
    from engine.backends.torch.causal_lm import TorchModel
    from engine.backends.torch.trainer import TorchTrainer

    class Toy(TorchTrainer):
        def step(self, *arguments: Any) -> Any:
            print("toy step", flush=True)
            return super().step(*arguments)

    return Toy(TorchModel.load(plan, config, folder, adapter), config, objective)


TOY = replace(SPEC, name="toy", order=None, load=load, speed_prefix=None)
