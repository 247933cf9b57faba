"""Norms that recompute their cheap parts in the backward pass instead of saving them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class RmsNorm(torch.autograd.Function):
    """y = w x / sqrt(mean(x^2) + eps) (Zhang & Sennrich 2019, arXiv:1910.07467). Saves x and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        full = x.float()
        scale = torch.rsqrt(full.square().mean(-1, keepdim=True).add_(eps))
        ctx.save_for_backward(x, weight, scale)
        return (full * scale).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        normed = x.float() * scale
        g = grad.float() * weight
        grad_x = (
            torch.addcmul(g, normed, (g * normed).mean(-1, keepdim=True), value=-1).mul_(scale).to(x.dtype)
        )
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad.float() * normed).reshape(-1, x.shape[-1]).sum(0).to(weight.dtype)
        return grad_x, grad_weight, None


def replace_norms(model: nn.Module) -> None:
    """Give RMS norms the saving form wherever a trial on the module's own weight shows that it is the same."""
    for module in model.modules():
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if "RMSNorm" in type(module).__name__ and eps is not None and hasattr(module, "weight"):
            form = _norm_form(module.weight, eps)
            if _agrees(module, form):
                module.forward = form


def _norm_form(weight: Tensor, eps: float) -> Callable[[Tensor], Tensor]:
    def forward(hidden_states: Tensor) -> Tensor:
        return RmsNorm.apply(hidden_states, weight, eps)

    return forward


def _agrees(module: nn.Module, form: Callable[[Tensor], Tensor]) -> bool:
    weight = module.weight
    width = weight.shape[-1]
    x = torch.linspace(-2, 3, 2 * width, dtype=weight.dtype, device=weight.device).view(1, 2, width)
    tolerance = 1e-5 if x.dtype == torch.float32 else 2e-2
    with torch.no_grad():
        return bool(torch.allclose(module(x), form(x), rtol=tolerance, atol=tolerance))
