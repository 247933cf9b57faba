"""Cross-entropy over the vocabulary, computed only where a label is trained and never held whole.

The gradient is made in the forward pass, in the buffer of the logits (as Liger's fused linear cross-entropy does,
arXiv:2410.10989), so the peak is one chunk of rows times the vocabulary in fp32.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 128 * 2**20
"""Size of the logits buffer; chunks of this size already run at full speed."""
VOCAB_BLOCK = 8192
"""Rows of a head that is held in another format, cast at a time."""


class HeadLoss(torch.autograd.Function):
    """hidden `[n, width]`, targets `[n]` to the summed loss in nats; the head may be trained or frozen."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = max(1, CHUNK_BYTES // (4 * weight.shape[0]))
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[2] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, hidden.shape[0], rows):
            part = slice(start, start + rows)
            losses, slopes = _softmax(_logits(hidden[part], weight, bias), targets[part])
            slopes[torch.arange(len(losses), device=hidden.device), targets[part]] -= 1  # softmax minus one
            total += losses.sum()
            if grad_hidden is not None:
                grad_hidden[part] = _times(slopes, weight, hidden.dtype)
            if grad_weight is not None:
                grad_weight.addmm_(slopes.T, hidden[part].float())
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        by_hidden = grad_hidden * grad.to(grad_hidden.dtype) if grad_hidden is not None else None
        by_weight = (grad_weight * grad).to(ctx.weight_dtype) if grad_weight is not None else None
        return by_hidden, None, by_weight, None


def token_losses(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Loss in nats of each target, `[n]`, without gradients."""
    rows = max(1, CHUNK_BYTES // (4 * weight.shape[0]))
    with torch.no_grad():
        parts = [
            _softmax(_logits(hidden[i : i + rows], weight, bias), targets[i : i + rows])[0]
            for i in range(0, hidden.shape[0], rows)
        ]
    return torch.cat(parts) if parts else torch.zeros(0)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Logits `[n, vocab]` in fp32; a head held in another format is cast block by block."""
    logits = torch.empty(hidden.shape[0], weight.shape[0], dtype=torch.float32, device=hidden.device)
    step = weight.shape[0] if weight.dtype == hidden.dtype else VOCAB_BLOCK
    for low in range(0, weight.shape[0], step):
        block = weight[low : low + step].to(hidden.dtype)
        if hidden.dtype == torch.float32:
            torch.mm(hidden, block.T, out=logits[:, low : low + step])
        else:
            logits[:, low : low + step] = hidden @ block.T
    return logits if bias is None else logits.add_(bias)


def _softmax(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses `[n]` and the probabilities `[n, vocab]`, these in the logits' own buffer."""
    chosen = logits.gather(1, targets.unsqueeze(1))
    top = logits.amax(-1, keepdim=True)
    probabilities = logits.sub_(top).exp_()
    total = probabilities.sum(-1, keepdim=True)
    losses = top.add(total.log()).sub_(chosen).squeeze(1)
    return losses, probabilities.div_(total)


def _times(slopes: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    if weight.dtype == dtype:
        return slopes.to(dtype) @ weight
    total = torch.zeros(slopes.shape[0], weight.shape[1], dtype=torch.float32, device=slopes.device)
    for low in range(0, weight.shape[0], VOCAB_BLOCK):
        block = weight[low : low + VOCAB_BLOCK]
        total += slopes[:, low : low + VOCAB_BLOCK].to(dtype) @ block.to(dtype)
    return total.to(dtype)
