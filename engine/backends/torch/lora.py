"""Frozen linear layers with LoRA updates as functions that keep little for the backward pass.

LoRA (Hu et al. 2021, arXiv:2106.09685): y = x W^T + bias + s (x A^T) B^T, with s = alpha / rank. W may be held in
another format than x; A and B are fp32 masters, cast for the product. Layers with one input are one function: their
A's are multiplied together, and the gradient of the input is summed in one buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from engine.backends.torch.norm import NormOf, norm_gradient, normed
from engine.backends.torch.weights import dense

Factors = tuple[Sequence[Tensor], Sequence[Tensor]]
"""The A's, each `[rank, in]`, and the B's, each `[out, rank]`; rank 0 where a layer has no update."""


@dataclass(frozen=True)
class Shared:
    """Layers with the same input in one pass, with what does not change in it."""

    layers: tuple[nn.Module, ...]
    scales: tuple[float, ...]
    drop: float = 0.0
    seed: int = 0
    norm: NormOf | None = None
    """Applied to the input first; made again in the backward pass."""

    def forward(self, x: Tensor, factors: Factors) -> tuple[list[Tensor], Tensor]:
        """x `[…, in]` to each layer's `[…, out]` in x's format, and x A^T, `[n, sum of ranks]`."""
        low = linear(self._dropped(x), torch.cat(list(factors[0])).to(x.dtype)).flatten(0, -2)
        outputs = []
        for layer, b, scale, part in zip(
            self.layers, factors[1], self.scales, self._split(low, factors), strict=True
        ):
            bias = layer.bias.to(x.dtype) if layer.bias is not None else None
            y = linear(x, dense(layer, x.dtype), bias)
            y.view(-1, y.shape[-1]).addmm_(part, b.to(x.dtype).T, alpha=scale)
            outputs.append(y)
        return outputs, low

    def backward(
        self, grads: Sequence[Tensor], x: Tensor, low: Tensor, factors: Factors, wants_x: bool
    ) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
        """Gradients of x (where wanted), of the A's and of the B's; these in fp32."""
        grad_low, grad_b = torch.empty_like(low), []
        for g, b, scale, part, into in zip(
            grads,
            factors[1],
            self.scales,
            self._split(low, factors),
            self._split(grad_low, factors),
            strict=True,
        ):
            torch.mm(g, b.to(x.dtype) * scale, out=into)
            grad_b.append((g.T @ part).float().mul_(scale))
        grad_a = list((grad_low.T @ self._dropped(x)).float().split([len(a) for a in factors[0]]))
        if not wants_x:
            return None, grad_a, grad_b
        grad_x = self._dropped(grad_low @ torch.cat(list(factors[0])).to(x.dtype))
        for g, layer in zip(grads, self.layers, strict=True):
            grad_x.addmm_(g, dense(layer, x.dtype))
        return grad_x, grad_a, grad_b

    def _split(self, low: Tensor, factors: Factors) -> tuple[Tensor, ...]:
        return low.split([len(a) for a in factors[0]], dim=1)

    def _dropped(self, x: Tensor) -> Tensor:
        """x under the mask of this pass: made again from its seed in the backward pass instead of being kept."""
        if not self.drop:
            return x
        generator = torch.Generator(x.device).manual_seed(self.seed)
        mask = torch.empty(x.shape, device=x.device).bernoulli_(1 - self.drop, generator=generator)
        return x * mask.div_(1 - self.drop).to(x.dtype)


class Projections(torch.autograd.Function):
    """Layers with one input, after a norm where one is given. Keeps the input as it was before the norm."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shared: Shared, *factors: Tensor) -> tuple[Tensor, ...]:
        inputs, inverse = normed(x, shared.norm) if shared.norm else (x, None)
        outputs, low = shared.forward(inputs, _halves(factors))
        ctx.shared = shared
        ctx.save_for_backward(x, inverse, low, *factors)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inverse, low, *factors = ctx.saved_tensors
        shared, rows = ctx.shared, x.flatten(0, -2)
        if inverse is not None:
            inverse = inverse.flatten(0, -2)
        inputs = rows if shared.norm is None else normed(rows, shared.norm, inverse)[0]
        flat = [grad.flatten(0, -2) for grad in grads]
        grad_x, *of_factors = shared.backward(flat, inputs, low, _halves(factors), ctx.needs_input_grad[0])
        if grad_x is not None and shared.norm is not None:
            grad_x = norm_gradient(grad_x, rows, shared.norm, inverse)
        return (grad_x.view(x.shape) if grad_x is not None else None, None, *of_factors[0], *of_factors[1])


class GatedProjection(torch.autograd.Function):
    """A layer on silu(gate) * up (SwiGLU, Shazeer 2020, arXiv:2002.05202). Keeps gate and up alone, in `kept`."""

    @staticmethod
    def forward(
        ctx: Any, gate: Tensor, up: Tensor, shared: Shared, kept: torch.dtype, a: Tensor, b: Tensor
    ) -> Tensor:
        inputs = torch.sigmoid(gate).mul_(gate).mul_(up)  # sigmoid and product are faster than silu on a CPU
        (y,), low = shared.forward(inputs, ((a,), (b,)))
        ctx.shared = shared
        ctx.save_for_backward(gate.to(kept), up.to(kept), low, a, b)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, low, a, b = ctx.saved_tensors
        gate, up = gate.to(grad.dtype), up.to(grad.dtype)
        sigmoid = torch.sigmoid(gate)
        activated = gate * sigmoid
        grad_x, (grad_a,), (grad_b,) = ctx.shared.backward(
            [grad.flatten(0, -2)], (activated * up).flatten(0, -2), low, ((a,), (b,)), True
        )
        grad_x = grad_x.view(gate.shape)
        # d silu = sigmoid + silu (1 - sigmoid), in the buffer of sigmoid
        slope = sigmoid.addcmul_(activated, sigmoid, value=-1).add_(activated)
        return slope.mul_(up).mul_(grad_x), activated.mul_(grad_x), None, None, grad_a, grad_b


def _halves(factors: Sequence[Tensor]) -> Factors:
    middle = len(factors) // 2
    return factors[:middle], factors[middle:]
