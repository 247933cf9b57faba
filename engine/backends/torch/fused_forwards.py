"""Put the saving forms on a model's own layers: PEFT's modules stay, and keep the weights; only `forward` changes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from engine.backends.torch.lora import GatedProjection, Projections, Shared
from engine.backends.torch.norm import NormOf
from engine.backends.torch.weights import is_quantised

SILU = ("SiLU", "SiLUActivation")


def is_frozen_linear(module: Any) -> bool:
    """A linear layer that is not trained itself, with or without a plain LoRA update."""
    if isinstance(module, LoraLayer):
        plain = list(module.lora_A) == ["default"] and not module.lora_variant
        plain = plain and not isinstance(module, AdaLoraLayer)  # three factors, not two
        return plain and is_product(module.base_layer)
    return is_product(module) and not module.weight.requires_grad


def is_product(module: Any) -> bool:
    """A linear layer and no more: a class of one may do other things too, as Llama 4's router does."""
    return isinstance(module, nn.Linear) and (
        type(module).forward is nn.Linear.forward or is_quantised(module)
    )


def project(x: Tensor, modules: Sequence[Any], norm: NormOf | None = None) -> tuple[Tensor, ...]:
    """Outputs of frozen linear modules for the same x `[…, in]`, after the norm where one is given."""
    shared, a, b = _gather(modules, norm)
    return Projections.apply(x, shared, *a, *b)


def gated(gate: Tensor, up: Tensor, down: Any, kept: torch.dtype) -> Tensor:
    """The frozen linear module `down` on silu(gate) * up, with both kept for the backward pass in `kept`."""
    shared, (a,), (b,) = _gather([down])
    return GatedProjection.apply(gate, up, shared, kept, a, b)


def is_gated_mlp(module: Any) -> bool:
    """down(silu(gate(x)) * up(x)), all three of them frozen."""
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    act = type(getattr(module, "act_fn", None)).__name__
    return len(list(module.children())) == 4 and act in SILU and all(map(is_frozen_linear, parts))


def mlp_form(mlp: Any, kept: torch.dtype, norm: NormOf | None = None) -> Callable[[Tensor], Tensor]:
    """The forward of a gated MLP, after a norm where one is given."""

    def forward(x: Tensor) -> Tensor:
        gate, up = project(x, (mlp.gate_proj, mlp.up_proj), norm)
        return gated(gate, up, mlp.down_proj, kept)

    return forward


def linear_form(module: Any) -> Callable[[Tensor], Tensor]:
    """The forward of one frozen linear module."""
    return lambda x: project(x, (module,))[0]


def _gather(modules: Sequence[Any], norm: NormOf | None = None) -> tuple[Shared, list[Tensor], list[Tensor]]:
    layers, scales, drops, a, b = [], [], [0.0], [], []
    for module in modules:
        if isinstance(module, LoraLayer) and not module.disable_adapters:
            layers.append(module.base_layer)
            scales.append(module.scaling["default"])
            drops.append(getattr(module.lora_dropout["default"], "p", 0.0) if module.training else 0.0)
            a.append(module.lora_A["default"].weight)
            b.append(module.lora_B["default"].weight)
        else:
            plain = getattr(module, "base_layer", module)
            layers.append(plain)
            scales.append(0.0)
            a.append(torch.empty(0, plain.in_features, device=plain.weight.device))
            b.append(torch.empty(plain.out_features, 0, device=plain.weight.device))
    drop = max(drops)
    # A mask's seed is drawn from the state of the micro-batch; layers with one input have one mask.
    seed = int(torch.randint(2**62, ())) if drop else 0
    return Shared(tuple(layers), tuple(scales), drop, seed, norm), a, b
