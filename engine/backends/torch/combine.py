"""Several LoRA adapters as one, by PEFT's methods that are not an exact sum: linear, SVD, TIES, DARE, pruning."""

from collections.abc import Mapping, Sequence
from typing import Any

import peft
import torch
from torch import nn

from engine.errors import ConfigError, first_line
from engine.models.tensors import Float32

Layer = tuple[Float32, Float32, float]
"""A `[rank, inputs]`, B `[outputs, rank]` and scale of the update of a layer."""
Layers = Mapping[str, Layer]
MADE = "made"


@torch.no_grad()
def combine(
    adapters: Sequence[Layers],
    weights: Sequence[float],
    method: str,
    *,
    density: float | None = None,
    rank: int | None = None,
    seed: int = 0,
) -> dict[str, Layer]:
    """The combined adapter's updates by layer; a layer that an adapter does not have counts as one that it left alone.

    `density` is the share of values that pruning keeps, `rank` that of an SVD's result, `seed` draws what DARE drops.
    PEFT's methods look at adapters alone, so the layers that it is given hold no weights. Raises ConfigError where the
    method does not take these adapters.
    """
    layers = dict.fromkeys(path for adapter in adapters for path in adapter)
    keys = {path: f"layer{index}" for index, path in enumerate(layers)}
    ranks = [max(len(a) for a, _, _ in adapter.values()) for adapter in adapters]
    names = [f"adapter{index}" for index in range(len(adapters))]
    base = nn.ModuleDict({key: _empty(path, adapters) for path, key in keys.items()})
    model: Any = None
    for name, most in zip(names, ranks, strict=True):
        settings = peft.LoraConfig(
            r=most, lora_alpha=most, target_modules=list(keys.values()), init_lora_weights=False
        )
        if model is None:
            model = peft.PeftModel(base, settings, name)
        else:
            model.add_adapter(name, settings)
    modules = {path: model.base_model.model[key] for path, key in keys.items()}
    for name, adapter in zip(names, adapters, strict=True):
        for path, module in modules.items():
            a, b = module.lora_A[name].weight, module.lora_B[name].weight
            a.zero_()
            b.zero_()
            if path in adapter:
                own_a, own_b = (torch.from_numpy(factor.copy()) for factor in adapter[path][:2])
                module.scaling[name] = adapter[path][
                    2
                ]  # as it is, so that PEFT forgets no rank stabilisation
                a[: len(own_a)] = own_a
                b[:, : len(own_a)] = own_b
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model.base_model.add_weighted_adapter(
                names, list(weights), MADE, method, svd_rank=rank, density=density, svd_full_matrices=False
            )
        except ValueError as error:
            raise ConfigError(
                f"--method {method}: {first_line(error)}",
                "--method cat takes any LoRA adapters, and is exact.",
            ) from error
    return {
        path: (module.lora_A[MADE].weight.numpy().copy(), module.lora_B[MADE].weight.numpy().copy(), 1.0)
        for path, module in modules.items()
    }


def _empty(path: str, adapters: Sequence[Layers]) -> nn.Linear:
    """A linear layer of the right shape whose weights are one number in memory."""
    a, b, _ = next(adapter[path] for adapter in adapters if path in adapter)
    layer = nn.Linear(1, 1, bias=False)
    layer.in_features, layer.out_features = a.shape[1], b.shape[0]
    layer.weight = nn.Parameter(torch.zeros(1).expand(b.shape[0], a.shape[1]), requires_grad=False)
    return layer
