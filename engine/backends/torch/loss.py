"""Cross-entropy over the vocabulary, computed only where a label is trained and never held whole.

The gradient is made in the forward pass, in the buffer of the logits (as Liger's fused linear cross-entropy does,
arXiv:2410.10989), so the peak is one chunk of rows times the vocabulary in the format of the hidden states.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

CHUNK_BYTES = 128 * 2**20
"""Size of a chunk of logits in fp32; chunks of this size already run at full speed."""
PIECE_BYTES = 2 * 2**20
"""Logits in fp32 that stay in a CPU's cache through all that is done to them."""
VOCAB_BLOCK = 8192
"""Rows of a head that is held in another format, cast at a time."""


class HeadLoss(torch.autograd.Function):
    """hidden `[n, width]`, targets `[n]` to the summed loss in nats; the head may be trained, frozen, or trained in
    some rows alone: `rows` `[m, width]` then stand in for those of the tokens `ids` `[m]`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        targets: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor | None = None,
        ids: Tensor | None = None,
    ) -> Tensor:
        gradients = _Gradients.of(ctx.needs_input_grad, hidden, weight, bias, rows)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for part in _parts(len(hidden), weight.shape[0], CHUNK_BYTES):
            logits = head_logits(hidden[part], weight, bias, rows, ids)
            total += _losses(logits, targets[part], slopes=True).sum()
            gradients.add(logits, hidden[part], part, weight, rows, ids)
        ctx.save_for_backward(gradients.hidden, gradients.weight, gradients.bias, gradients.rows)
        ctx.inputs, ctx.weight_dtype = len(ctx.needs_input_grad), weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_hidden, by_weight, by_bias, by_rows = (
            None if saved is None else saved * grad.to(saved.dtype) for saved in ctx.saved_tensors
        )
        if by_weight is not None:
            by_weight = by_weight.to(ctx.weight_dtype)
        return (by_hidden, None, by_weight, by_bias, by_rows, None)[: ctx.inputs]


class HeadLogps(torch.autograd.Function):
    """The same inputs to the log-probability in nats of each target, `[n]`, for losses that are more than their sum.

    The backward pass makes each chunk of logits again (as Cut Cross-Entropy does, arXiv:2411.09009), so that the
    vocabulary is never held whole here either.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        targets: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor | None = None,
        ids: Tensor | None = None,
    ) -> Tensor:
        ctx.save_for_backward(hidden, targets, weight, bias, rows, ids)
        ctx.inputs = len(ctx.needs_input_grad)
        return -token_losses(hidden, targets, weight, bias, rows, ids)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, targets, weight, bias, rows, ids = ctx.saved_tensors
        gradients = _Gradients.of(ctx.needs_input_grad, hidden, weight, bias, rows)
        for part in _parts(len(hidden), weight.shape[0], CHUNK_BYTES):
            logits = head_logits(hidden[part], weight, bias, rows, ids)
            _losses(logits, targets[part], slopes=True)
            logits.mul_(-grad[part].to(logits.dtype).unsqueeze(1))
            gradients.add(logits, hidden[part], part, weight, rows, ids)
        by_weight = None if gradients.weight is None else gradients.weight.to(weight.dtype)
        made = (gradients.hidden, None, by_weight, gradients.bias, gradients.rows, None)
        return made[: ctx.inputs]


@dataclass
class _Gradients:
    """Gradients that are made with the loss; None for what is not trained."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    rows: Tensor | None

    @classmethod
    def of(
        cls,
        needed: Sequence[bool],
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor | None,
    ) -> Self:
        def zeros(place: int, like: Tensor | None) -> Tensor | None:
            wanted = like is not None and place < len(needed) and needed[place]
            return torch.zeros_like(like, dtype=torch.float32) if wanted and like is not None else None

        own = torch.empty_like(hidden) if needed[0] else None
        return cls(own, zeros(2, weight), zeros(3, bias), zeros(4, rows))

    def add(
        self,
        slopes: Tensor,
        hidden: Tensor,
        part: slice,
        weight: Tensor,
        rows: Tensor | None,
        ids: Tensor | None,
    ) -> None:
        """Take in the logits' gradient `[n, vocabulary]` at the hidden states `[n, width]` of `part`."""
        own = None
        if rows is not None and ids is not None:
            own = slopes[:, ids]
            slopes[:, ids] = 0  # what the weights have there plays no part
            if self.rows is not None:
                self.rows.addmm_(own.float().T, hidden.float())
        if self.hidden is not None:
            self.hidden[part] = _times(slopes, weight)
            if own is not None and rows is not None:
                self.hidden[part] += own @ rows.to(own.dtype)
        if self.weight is not None:
            self.weight.addmm_(slopes.float().T, hidden.float())
        if self.bias is not None:
            self.bias += slopes.float().sum(0)


def token_losses(
    hidden: Tensor,
    targets: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    rows: Tensor | None = None,
    ids: Tensor | None = None,
) -> Tensor:
    """Loss in nats of each target, `[n]`, without gradients."""
    with torch.no_grad():
        parts = [
            _losses(head_logits(hidden[part], weight, bias, rows, ids), targets[part])
            for part in _parts(len(hidden), weight.shape[0], CHUNK_BYTES)
        ]
    return torch.cat(parts) if parts else torch.zeros(0)


def _parts(rows: int, vocab: int, size: int) -> Iterator[slice]:
    """Slices of rows whose logits take about `size` bytes in fp32."""
    step = max(1, size // (4 * vocab))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def head_logits(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, rows: Tensor | None = None, ids: Tensor | None = None
) -> Tensor:
    """Logits `[n, vocab]` in the format of `hidden`; a head held in another is cast block by block."""
    logits = hidden.new_empty(hidden.shape[0], weight.shape[0])
    step = weight.shape[0] if weight.dtype == hidden.dtype else VOCAB_BLOCK
    for low in range(0, weight.shape[0], step):
        torch.mm(hidden, weight[low : low + step].to(hidden.dtype).T, out=logits[:, low : low + step])
    if rows is not None and ids is not None:
        logits[:, ids] = hidden @ rows.to(hidden.dtype).T
    return logits if bias is None else logits.add_(bias)


def _losses(logits: Tensor, targets: Tensor, slopes: bool = False) -> Tensor:
    """Losses `[n]`, computed in fp32; with `slopes` their gradient takes over the logits.

    That is softmax, less one at the target: exp(-loss) - 1, which a format of few digits holds where it has no room
    for a probability near one.
    """
    losses = torch.empty(len(targets), dtype=torch.float32, device=logits.device)
    size = PIECE_BYTES if logits.device.type == "cpu" else CHUNK_BYTES
    for part in _parts(len(logits), logits.shape[1], size):
        piece, target = logits[part].float(), targets[part].unsqueeze(1)
        chosen = piece.gather(1, target)
        top = piece.amax(-1, keepdim=True)
        total = piece.sub_(top).exp_().sum(-1, keepdim=True)
        loss = top.add_(total.log()).sub_(chosen)
        losses[part] = loss.squeeze(1)
        if slopes:
            logits[part] = piece.div_(total).scatter_(1, target, torch.expm1(-loss))
    return losses


def _times(slopes: Tensor, weight: Tensor) -> Tensor:
    """slopes `[n, vocab]` times the head `[vocab, width]`, in the format of the slopes."""
    if weight.dtype == slopes.dtype:
        return slopes @ weight
    total = torch.zeros(slopes.shape[0], weight.shape[1], dtype=torch.float32, device=slopes.device)
    for low in range(0, weight.shape[0], VOCAB_BLOCK):
        total += slopes[:, low : low + VOCAB_BLOCK] @ weight[low : low + VOCAB_BLOCK].to(slopes.dtype)
    return total.to(slopes.dtype)
