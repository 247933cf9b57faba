"""Learning rates that differ between parameters: factors of the step's rate, by a parameter's name."""

import re
from collections.abc import Iterable

from engine.config.schema import TrainConfig

LAYER = re.compile(r"\.(?:layers|layer|h|blocks)\.(\d+)\.")
"""Number of a parameter's layer in its name, in the models of transformers."""
FACTOR_B = re.compile(r"\.lora_B\.")


def rate_factors(config: TrainConfig, names: Iterable[str]) -> dict[str, float]:
    """Factor of each parameter's learning rate; those with a factor of 1 are left out.

    LoRA+ (arXiv:2402.12354): the factors B of a LoRA learn `lora_plus_ratio` times as fast as A. Layer-wise decay
    (arXiv:1801.06146, discriminative fine-tuning): each layer learns `layer_decay` times as fast as the one above it;
    the last one, and what lies behind it, at the full rate, what lies in front of the first one more slowly still.
    """
    training = config.training
    names = list(names)
    numbers = {name: int(found[1]) for name in names if (found := LAYER.search(name))}
    last = max(numbers.values(), default=0)
    factors = {}
    for name in names:
        factor = training.lora_plus_ratio if FACTOR_B.search(name) else 1.0
        if training.layer_decay < 1.0:
            factor *= training.layer_decay ** (last - numbers.get(name, last if _is_behind(name) else -1))
        if factor != 1.0:
            factors[name] = factor
    return factors


def _is_behind(name: str) -> bool:
    """Return True for a parameter behind the layers: the output layer, or the last norm."""
    return "embed" not in name and ".wte." not in name and ".wpe." not in name
