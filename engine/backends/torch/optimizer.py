"""AdamW: torch's own, or bitsandbytes' with its two moments in 8 bits (Dettmers et al. 2021, arXiv:2110.02861)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from engine.config.sections import Training

OWN = ("step", "exp_avg", "exp_avg_sq")
OF_BITSANDBYTES = ("step", "state1", "state2", "absmax1", "absmax2")
"""Keys of a parameter's state from which training resumes; the two maps of the 8-bit numbers are constants."""


FACTOR = "factor"
"""Key of a group of parameters: what the learning rate of a step is multiplied by."""


def optimizer_of(
    training: Training, named: Mapping[str, Tensor], rates: Mapping[str, float] = MappingProxyType({})
) -> torch.optim.Optimizer:
    """The recipe's optimizer, at rate zero until a step sets it (`set_rate`).

    `rates` are factors of the learning rate by parameter's name, 1 for those that it does not name.

    A CPU moves each tensor in one pass. A GPU takes many together, but MPS has no kernels for that: there `foreach`
    would go through them one by one all the same, and hold a temporary of each until the last.

    bitsandbytes keeps the moments of tensors with fewer than 4096 numbers in fp32. Paged ones live in memory that
    CUDA moves to the host where the GPU runs short.
    """
    parameters = _groups(named, rates)
    if training.optimizer == "adamw":
        device = next(iter(named.values())).device.type
        ways = {"fused": True} if device == "cpu" else {"foreach": device != "mps"}
        return torch.optim.AdamW(parameters, lr=0.0, weight_decay=training.weight_decay, **ways)
    from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

    kind = AdamW8bit if training.optimizer == "adamw_8bit" else PagedAdamW8bit
    made: torch.optim.Optimizer = kind(parameters, lr=0.0, weight_decay=training.weight_decay)
    return made


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(FACTOR, 1.0)


def _groups(named: Mapping[str, Tensor], rates: Mapping[str, float]) -> list[Any]:
    """All parameters, or groups of those with the same factor, in the order of their names."""
    if not rates:
        return list(named.values())
    found: dict[float, list[Tensor]] = {}
    for name, parameter in named.items():
        found.setdefault(rates.get(name, 1.0), []).append(parameter)
    return [{"params": members, FACTOR: factor} for factor, members in found.items()]


def moments(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """A parameter's state; empty before the first step."""
    state = optimizer.state.get(parameter, {})
    return {key: torch.as_tensor(state[key]) for key in (*OWN, *OF_BITSANDBYTES[1:]) if key in state}


def restore(optimizer: torch.optim.Optimizer, saved: Mapping[Tensor, Mapping[str, Tensor]]) -> None:
    """Take up what `moments` gave for each parameter, to the bit."""
    if isinstance(optimizer, torch.optim.AdamW):
        for parameter, state in saved.items():
            optimizer.state[parameter] = dict(state)
        return
    own: Any = optimizer  # bitsandbytes makes a parameter's buffers itself: paged, or on its device
    for index, group in enumerate(own.param_groups):
        for number, parameter in enumerate(group["params"]):
            if parameter not in saved:
                continue
            own.init_state(group, parameter, index, number)
            for key, value in saved[parameter].items():
                if key == "step":
                    own.state[parameter][key] = int(value)
                else:
                    own.state[parameter][key].copy_(value)
