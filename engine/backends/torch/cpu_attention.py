"""Causal attention on a CPU, whose backward pass goes through the scores tile by tile.

torch's own is slow there in bf16. Here the heads that share a key are one product, and few scores are formed that
causality hides. What is kept is what FlashAttention keeps (Dao et al. 2022, arXiv:2205.14135): queries, keys, values,
output, and the logarithm of each row's sum.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
TILE = 96
"""Queries in a tile: their scores of an example of usual length stay in the processor's cache."""
UNIT = 32
"""Examples are laid out in multiples of so many tokens: for every new size of a product, oneDNN makes code."""


class CausalAttention(torch.autograd.Function):
    """Examples end to end: q `[rows, heads, n, d]`, k and v `[rows, kv_heads, n, d]` to `[rows, n, heads, d]`.

    An example also sees so many first tokens of the one before it as its `prefixes` say.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        lengths: Sequence[int],
        prefixes: Sequence[int],
        scale: float,
    ) -> Tensor:
        output = q.new_empty(q.shape[0], q.shape[2], q.shape[1], q.shape[3])
        sums = q.new_empty(q.shape[:3], dtype=torch.float32)
        for span, prefix in _spans(lengths, prefixes):
            part, own = FORWARD(q[:, :, span], k[:, :, span], v[:, :, span], 0.0, True, scale=scale)
            if prefix is not None:
                seen = FORWARD(q[:, :, span], k[:, :, prefix], v[:, :, prefix], 0.0, False, scale=scale)
                part, own = _joint(part, own, *seen)
            sums[:, :, span] = own
            output[:, span] = part.transpose(1, 2)
        ctx.save_for_backward(q, k, v, output, sums)
        ctx.lengths, ctx.prefixes, ctx.scale = lengths, prefixes, scale
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, output, sums = ctx.saved_tensors
        gradients = fused_gradients if q.dtype == torch.float32 else tiled_gradients
        grads = tuple(torch.empty_like(x.transpose(1, 2)).transpose(1, 2) for x in (q, k, v))
        for span, prefix in _spans(ctx.lengths, ctx.prefixes):
            slopes, part = (x[:, span].transpose(1, 2) for x in (grad, output))
            queries = Queries(q[:, :, span], slopes, part, sums[:, :, span])
            own = gradients(queries, k[:, :, span], v[:, :, span], ctx.scale)
            for whole, of_example in zip(grads, own, strict=True):
                whole[:, :, span] = of_example
            if prefix is None:
                continue
            more = gradients(queries, k[:, :, prefix], v[:, :, prefix], ctx.scale, causal=False)
            for whole, place, of_prefix in zip(grads, (span, prefix, prefix), more, strict=True):
                whole[:, :, place] += of_prefix  # the prefix lies in an example that came before this one
        return *grads, None, None, None


def _spans(lengths: Sequence[int], prefixes: Sequence[int]) -> Iterator[tuple[slice, slice | None]]:
    """Where each example lies, and where its prefix does: at the start of the example before."""
    start, before = 0, 0
    for length, prefix in zip(lengths, prefixes, strict=True):
        yield slice(start, start + length), slice(before, before + prefix) if prefix else None
        start, before = start + length, start


def _joint(one: Tensor, one_sums: Tensor, other: Tensor, other_sums: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over two sets of keys from that over each: outputs `[…, n, d]`, logarithms of the sums `[…, n]`."""
    sums = torch.logaddexp(one_sums, other_sums)
    first, second = ((part - sums).exp().unsqueeze(-1) for part in (one_sums, other_sums))
    return (first * one.float() + second * other.float()).to(one.dtype), sums


@dataclass(frozen=True)
class _Example:
    """One example with the heads of one key together: q, `slopes` `[groups, heads, n, d]`, k, v `[groups, n, d]`.

    `sums` and `dots` are fp32 `[groups, heads, n, 1]`; n is a multiple of UNIT, and zeros fill it up.
    """

    k: Tensor
    v: Tensor
    causal: bool
    """True if the keys are the queries' own tokens, False if all of them come before."""
    q: Tensor
    slopes: Tensor
    sums: Tensor
    dots: Tensor

    @property
    def tiles(self) -> Iterator[slice]:
        size = self.q.shape[2]
        return (slice(start, min(start + TILE, size)) for start in range(0, size, TILE))

    def keys(self, tile: slice) -> slice:
        """Keys that a tile's queries see any of."""
        return slice(0, tile.stop if self.causal else self.k.shape[1])

    def probabilities(self, tile: slice) -> Tensor:
        """Those of a tile's queries for its `keys`, fp32 `[groups, heads * tile, keys]`."""
        queries = _joined(self.q, tile).float()
        scores = torch.bmm(queries, self.k[:, self.keys(tile)].float().transpose(1, 2))
        by_head = self.by_head(scores, tile)
        by_head.sub_(self.sums[:, :, tile]).exp_()
        if self.causal:
            by_head[..., tile].masked_fill_(_later(tile.stop - tile.start), 0)
        return scores

    def by_head(self, joined: Tensor, tile: slice) -> Tensor:
        """`[groups, heads * tile, …]` as `[groups, heads, tile, …]`."""
        return joined.view(*self.q.shape[:2], tile.stop - tile.start, -1)


class Queries(NamedTuple):
    """One example's queries, and what their backward pass begins with: `[rows, heads, n, d]`, sums `[rows, heads, n]`.

    The sums are over all keys that a query sees, also where gradients are made for some of them at a time.
    """

    q: Tensor
    grad: Tensor
    output: Tensor
    sums: Tensor


def fused_gradients(
    queries: Queries, k: Tensor, v: Tensor, scale: float, causal: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The same as `tiled_gradients`, by torch's own, which is as fast in fp32."""
    q, grad, output, sums = queries
    q_grad, k_grad, v_grad = BACKWARD(grad, q, k, v, output, sums, 0.0, causal, scale=scale)
    return q_grad, k_grad, v_grad


def tiled_gradients(
    queries: Queries, k: Tensor, v: Tensor, scale: float, causal: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the queries, and of keys k and v `[rows, kv_heads, m, d]` that they see.

    Of keys that are not `causal`, each query sees all.

    With P = exp(scale q k^T - sums): dv = P^T grad, dS = P (grad v^T - sum(grad output)), dq = scale dS k and
    dk = scale dS^T q (arXiv:2205.14135, appendix B.4). Scores are products in fp32, the rest in q's format with
    sums in fp32.
    """
    q, grad, output, sums = queries
    dots = (grad * output).sum(-1, keepdim=True, dtype=torch.float32)
    laid = [_laid(x, k.shape[1]) for x in (q * scale, grad, sums.unsqueeze(-1), dots)]
    k_laid, v_laid = (_laid(x, k.shape[1])[:, 0] for x in (k, v))
    example = _Example(k_laid, v_laid, causal, *laid)
    grad_q = torch.empty_like(example.q)
    grad_k, grad_v = (torch.zeros_like(x, dtype=torch.float32) for x in (example.k, example.v))
    for tile in example.tiles:
        keys, slopes = example.keys(tile), _joined(example.slopes, tile)
        p = example.probabilities(tile)
        grad_v[:, keys] += torch.bmm(p.to(q.dtype).transpose(1, 2), slopes)
        of_scores = torch.bmm(slopes, example.v[:, keys].transpose(1, 2)).float()
        example.by_head(of_scores, tile).sub_(example.dots[:, :, tile])
        of_scores = of_scores.mul_(p).to(q.dtype)
        grad_q[:, :, tile] = example.by_head(torch.bmm(of_scores, example.k[:, keys]), tile)
        grad_k[:, keys] += torch.bmm(of_scores.transpose(1, 2), _joined(example.q, tile))
    return _unlaid(grad_q.mul_(scale), q), _unlaid(grad_k, k), _unlaid(grad_v, v)


def _laid(x: Tensor, groups: int) -> Tensor:
    """x `[rows, heads, n, d]` as `[rows * groups, heads / groups, n, d]`, n filled up to a multiple of UNIT."""
    rows, heads, n, d = x.shape
    return pad(x, (0, 0, 0, -n % UNIT)).reshape(rows * groups, heads // groups, -1, d)


def _unlaid(x: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_laid`."""
    rows, heads, n, d = like.shape
    return x.view(rows, heads, -1, d)[:, :, :n]


def _joined(x: Tensor, tile: slice) -> Tensor:
    """A tile of `[groups, heads, n, d]` as `[groups, heads * tile, d]`."""
    return x[:, :, tile].flatten(1, 2)


@cache
def _later(size: int) -> Tensor:
    """True where a key of a tile comes after the query, `[size, size]`."""
    return torch.ones(size, size, dtype=torch.bool).triu_(1)
