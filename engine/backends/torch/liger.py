"""Liger's fused linear cross-entropy (arXiv:2410.10989) in the place of `loss.HeadLoss`: Triton kernels, for CUDA."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from engine.backends.torch.loss import HeadLoss
from engine.data.types import UNTRAINED

Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""hidden `[n, width]`, targets `[n]`, the head's weight `[vocab, width]` and bias to the summed loss in nats."""
TRIAL_TOKENS = 8


def liger_loss() -> Loss:
    """The same sum as `HeadLoss`, for a frozen head in the format of the hidden states."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    fused = LigerFusedLinearCrossEntropyLoss(reduction="sum", ignore_index=UNTRAINED)
    return lambda hidden, targets, weight, bias: fused(weight, hidden, targets, bias)


def proven_loss(weight: Tensor, bias: Tensor | None, compute: torch.dtype) -> Loss:
    """Liger's loss where a trial on the model's own head shows that it is ours; else ours, and the log says why."""
    if weight.requires_grad or weight.dtype != compute:
        return HeadLoss.apply
    try:
        theirs = liger_loss()
        ours, fused = (_trial(loss, weight, bias) for loss in (HeadLoss.apply, theirs))
    except (
        ImportError,
        RuntimeError,
        OSError,
    ) as error:  # Triton finds no compiler, or no driver that it knows
        warnings.warn(f"Liger's kernels do not run here, so our own loss is used: {error}", stacklevel=2)
        return HeadLoss.apply
    tolerance = 1e-4 if compute == torch.float32 else 2e-2
    if all((a - b).norm() <= tolerance * a.norm() for a, b in zip(ours, fused, strict=True)):
        return theirs
    warnings.warn("Liger's loss differs from ours on this model's head, so our own is used", stacklevel=2)
    return HeadLoss.apply


def _trial(loss: Loss, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Loss and gradient of a few drawn hidden states, in fp32."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(TRIAL_TOKENS, weight.shape[1], generator=draw).to(weight).requires_grad_()
    targets = torch.randint(weight.shape[0], (TRIAL_TOKENS,), generator=draw).to(weight.device)
    value = loss(hidden, targets, weight, bias)
    (gradient,) = torch.autograd.grad(value, hidden)
    return value.detach().float(), gradient.float()
