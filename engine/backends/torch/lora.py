"""LoRA layers as functions that save their input and nothing else.

LoRA (Hu et al. 2021, arXiv:2106.09685): y = x W^T + b + s (x A^T) B^T, with s = alpha / rank.
In fp32 the update is folded into the weight, W + s B A: one large product instead of three. In half precision
that would round small updates away, so there they stay apart; A and B are fp32 masters, cast for the product.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from engine.backends.torch.weights import dense

FOLD_FROM = 64
"""Fewest tokens for which the update is folded into the weight."""


@dataclass(frozen=True)
class Product:
    """One adapted layer in one forward pass: its frozen layer, the update's scale, and dropout with its seed."""

    layer: nn.Module
    scale: float
    drop: float = 0.0
    seed: int = 0

    @staticmethod
    def draw(layer: nn.Module, scale: float, drop: float) -> "Product":
        """With a dropout seed taken from the state of the micro-batch."""
        return Product(layer, scale, drop, int(torch.randint(2**62, ())) if drop else 0)

    def forward(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """x `[…, in]`, A `[rank, in]`, B `[out, rank]` to `[…, out]` in x's format."""
        bias = self.layer.bias.to(x.dtype) if self.layer.bias is not None else None
        if self._folds(x):
            return linear(x, self._folded(a, b), bias)
        y = linear(x, dense(self.layer, x.dtype), bias)
        return y.add_(linear(linear(self._dropped(x), a.to(x.dtype)), b.to(x.dtype)), alpha=self.scale)

    def backward(
        self, grad: Tensor, x: Tensor, a: Tensor, b: Tensor, wants_x: bool
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Gradients of x (where wanted), A and B; these two in fp32."""
        g = grad.reshape(-1, grad.shape[-1])
        dropped = self._dropped(x).reshape(-1, x.shape[-1])
        half_a, half_b = a.to(x.dtype), b.to(x.dtype)
        g_low = g @ half_b
        grad_a = (g_low.T @ dropped).float().mul_(self.scale)
        grad_b = (g.T @ (dropped @ half_a.T)).float().mul_(self.scale)
        if not wants_x:
            return None, grad_a, grad_b
        if self._folds(x):
            return (g @ self._folded(a, b)).view(x.shape), grad_a, grad_b
        through = self._dropped((g_low @ half_a).view(x.shape))
        grad_x = (g @ dense(self.layer, x.dtype)).view(x.shape).add_(through, alpha=self.scale)
        return grad_x, grad_a, grad_b

    def _folds(self, x: Tensor) -> bool:
        """Folding costs as much as a few dozen tokens do; answers come one token at a time."""
        return x.dtype == torch.float32 and not self.drop and x.numel() >= FOLD_FROM * x.shape[-1]

    def _folded(self, a: Tensor, b: Tensor) -> Tensor:
        weight = dense(self.layer, torch.float32)
        if weight.data_ptr() == self.layer.weight.data_ptr():  # held in fp32 already: not ours to change
            return torch.addmm(weight, b, a, alpha=self.scale)
        return weight.addmm_(b, a, alpha=self.scale)

    def _dropped(self, x: Tensor) -> Tensor:
        """x under the mask of this pass: made again from its seed in the backward pass instead of being kept."""
        if not self.drop:
            return x
        generator = torch.Generator(x.device).manual_seed(self.seed)
        mask = torch.empty(x.shape, device=x.device).bernoulli_(1 - self.drop, generator=generator)
        return x * mask.div_(1 - self.drop).to(x.dtype)


class LoraProduct(torch.autograd.Function):
    """An adapted layer. Saves x, which layers with the same input share."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, product: Product) -> Tensor:
        ctx.product = product
        ctx.save_for_backward(x, a, b)
        return product.forward(x, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        return (*ctx.product.backward(grad, *ctx.saved_tensors, ctx.needs_input_grad[0]), None)


class GatedLoraProduct(torch.autograd.Function):
    """An adapted layer on silu(gate) * up (SwiGLU, Shazeer 2020, arXiv:2002.05202). Saves gate and up alone."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, a: Tensor, b: Tensor, product: Product) -> Tensor:
        ctx.product = product
        ctx.save_for_backward(gate, up, a, b)
        return product.forward(silu(gate).mul_(up), a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        gate, up, a, b = ctx.saved_tensors
        sigmoid = torch.sigmoid(gate)
        activated = gate * sigmoid
        grad_x, grad_a, grad_b = ctx.product.backward(grad, activated * up, a, b, True)
        # d silu = sigmoid + silu (1 - sigmoid), in the buffer of sigmoid
        slope = torch.addcmul(sigmoid, activated, sigmoid, value=-1).add_(activated)
        return slope.mul_(up).mul_(grad_x), activated.mul_(grad_x), grad_a, grad_b, None
