"""A LoRA layer as one function: it saves its input and nothing else.

LoRA (Hu et al. 2021, arXiv:2106.09685): y = x W^T + b + s (x A^T) B^T, with s = alpha / rank.
In fp32 the update is folded into the weight, W + s B A: one large product instead of three. In half precision
that would round small updates away, so there they stay apart; A and B are fp32 masters, cast for the product.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from engine.backends.torch.weights import dense


class LoraProduct(torch.autograd.Function):
    """Inputs x `[…, in]`, A `[rank, in]`, B `[out, rank]` (fp32); output `[…, out]` in x's dtype."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, layer: nn.Module, scale: float, drop: float
    ) -> Tensor:
        ctx.layer, ctx.scale, ctx.drop = layer, scale, drop
        ctx.seed = int(torch.randint(2**62, ())) if drop else 0
        ctx.save_for_backward(x, a, b)
        bias = layer.bias.to(x.dtype) if layer.bias is not None else None
        if _folds(x, drop):
            return linear(x, _folded(layer, a, b, scale), bias)
        y = linear(x, dense(layer, x.dtype), bias)
        low = linear(_dropped(x, drop, ctx.seed), a.to(x.dtype))
        return y.add_(linear(low, b.to(x.dtype)), alpha=scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None, None]:
        x, a, b = ctx.saved_tensors
        g = grad.reshape(-1, grad.shape[-1])
        dropped = _dropped(x, ctx.drop, ctx.seed).reshape(-1, x.shape[-1])
        low = dropped @ a.to(x.dtype).T
        g_low = g @ b.to(x.dtype)
        grad_b = (g.T @ low).float().mul_(ctx.scale)
        grad_a = (g_low.T @ dropped).float().mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            if _folds(x, ctx.drop):
                grad_x = g @ _folded(ctx.layer, a, b, ctx.scale)
            else:
                through = _dropped((g_low @ a.to(x.dtype)).view(x.shape), ctx.drop, ctx.seed)
                grad_x = (g @ dense(ctx.layer, x.dtype)).view(x.shape).add_(through, alpha=ctx.scale)
            grad_x = grad_x.view(x.shape)
        return grad_x, grad_a, grad_b, None, None, None


def _folds(x: Tensor, drop: float) -> bool:
    return x.dtype == torch.float32 and not drop


def _folded(layer: nn.Module, a: Tensor, b: Tensor, scale: float) -> Tensor:
    return torch.addmm(dense(layer, torch.float32), b, a, alpha=scale)


def _mask(shape: torch.Size, device: torch.device, drop: float, seed: int) -> Tensor:
    """The same mask in forward and backward: made again from its seed instead of being kept."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.empty(shape, device=device).bernoulli_(1 - drop, generator=generator)


def _dropped(x: Tensor, drop: float, seed: int) -> Tensor:
    if not drop:
        return x
    return x * _mask(x.shape, x.device, drop, seed).div_(1 - drop).to(x.dtype)
