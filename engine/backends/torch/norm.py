"""RMS norms that recompute their cheap parts in the backward pass instead of keeping them.

y = w x / sqrt(mean(x^2) + eps) (Zhang & Sennrich 2019, arXiv:1910.07467).
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NormOf:
    """The weight `[width]` and epsilon of an RMS norm."""

    weight: Tensor
    eps: float

    @staticmethod
    def of(module: nn.Module) -> "NormOf | None":
        """Those of a module that looks like an RMS norm; a trial has to show whether it is one.

        One that takes a gate as well (Qwen 3.5, Bamba) is another layer.
        """
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        named = "RMSNorm" in type(module).__name__ and hasattr(module, "weight")
        if not named or eps is None or len(signature(module.forward).parameters) != 1:
            return None
        return NormOf(module.weight, eps)


def normed(x: Tensor, norm: NormOf, inverse: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The norm of x `[…, width]` in x's format, and 1 / sqrt(mean(x^2) + eps) `[…, 1]` in fp32 (may be given)."""
    full = x.float()
    if inverse is None:
        inverse = torch.rsqrt(full.square().mean(-1, keepdim=True).add_(norm.eps))
    return (full * inverse).to(x.dtype).mul_(norm.weight), inverse


def norm_gradient(grad: Tensor, x: Tensor, norm: NormOf, inverse: Tensor) -> Tensor:
    """The gradient of x, in its format, from that of its norm."""
    scaled = x.float() * inverse
    g = grad.float() * norm.weight
    slope = torch.addcmul(g, scaled, (g * scaled).mean(-1, keepdim=True), value=-1)
    return slope.mul_(inverse).to(x.dtype)


class RmsNorm(torch.autograd.Function):
    """A norm on its own. Keeps x and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, inverse = normed(x, NormOf(weight, eps))
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, inverse = ctx.saved_tensors
        grad_weight = None
        if ctx.needs_input_grad[1]:
            slope = grad.float() * x.float() * inverse
            grad_weight = slope.reshape(-1, x.shape[-1]).sum(0).to(weight.dtype)
        return norm_gradient(grad, x, NormOf(weight, 0.0), inverse), grad_weight, None


def replace_norms(model: nn.Module) -> None:
    """Give RMS norms the saving form wherever a trial on the module's own weight shows that it is the same."""
    for module in model.modules():
        if norm := NormOf.of(module):
            form = _norm_form(norm)
            if _agrees(module, norm, form):
                module.forward = form


def _norm_form(norm: NormOf) -> Callable[[Tensor], Tensor]:
    def forward(hidden_states: Tensor) -> Tensor:
        return RmsNorm.apply(hidden_states, norm.weight, norm.eps)

    return forward


def _agrees(module: nn.Module, norm: NormOf, form: Callable[[Tensor], Tensor]) -> bool:
    width = norm.weight.shape[-1]
    x = torch.linspace(-2, 3, 2 * width, dtype=norm.weight.dtype, device=norm.weight.device).view(1, 2, width)
    tolerance = 1e-5 if x.dtype == torch.float32 else 2e-2
    with torch.no_grad():
        return bool(torch.allclose(module(x), form(x), rtol=tolerance, atol=tolerance))
