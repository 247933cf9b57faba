"""Causal attention of examples that lie end to end in one row, each alone.

No token can see another example because the products are never formed, so a packed row costs what its examples
cost apart. On the CPU the products are our own: in float32, PyTorch's fused kernel runs at about a third of the speed
of the machine's matrix products (see docs/benchmarks.md).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

NAME = "ft_segments"
BLOCK = 256
"""Query rows in one block: large enough for fast products, small enough to skip most of what causality hides."""


class CausalAttention(torch.autograd.Function):
    """Grouped-query attention of one row: q `[1, heads, n, d]`, k and v `[1, kv_heads, n, d]` to `[1, n, heads, d]`.

    `spans` are the examples' half-open ranges. Scores are recomputed in the backward pass from the saved
    log-sum-exp, as in FlashAttention (Dao et al. 2022, arXiv:2205.14135), block by block.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, spans: Sequence[tuple[int, int]], scale: float
    ) -> Tensor:
        _, heads, length, width = q.shape
        out = q.new_zeros(1, length, heads, width)
        lse = torch.zeros(heads, length, 1, dtype=torch.float32, device=q.device)
        for rows, keys, hidden in _blocks(spans):
            scores = _scores(q, k, rows, keys, hidden, scale)
            top = scores.amax(-1, keepdim=True)
            weights = scores.sub_(top).exp_()
            total = weights.sum(-1, keepdim=True)
            lse[:, rows] = _ungroup(total.log().add_(top), heads)
            weights = weights.div_(total).to(q.dtype)
            out[0, rows] = _ungroup(weights @ v[0, :, keys], heads).transpose(0, 1)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.spans, ctx.scale = spans, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, out, lse = ctx.saved_tensors
        heads, kv_heads = q.shape[1], k.shape[1]
        delta = (grad * out).sum(-1, dtype=torch.float32)[0].T.unsqueeze(-1)
        grad_q, grad_k, grad_v = _like_rows(q), _like_rows(k), _like_rows(v)
        for rows, keys, hidden in _blocks(ctx.spans):
            weights = _scores(q, k, rows, keys, hidden, ctx.scale).sub_(_group(lse[:, rows], kv_heads)).exp_()
            g = _group(grad[0, rows].transpose(0, 1), kv_heads)
            queries = _group(q[0, :, rows], kv_heads)
            grad_v[0, :, keys] += weights.to(q.dtype).transpose(1, 2) @ g
            slope = (g @ v[0, :, keys].transpose(1, 2)).float().sub_(_group(delta[:, rows], kv_heads))
            slope = slope.mul_(weights).mul_(ctx.scale).to(q.dtype)
            grad_q[0, :, rows] = _ungroup(slope @ k[0, :, keys], heads)
            grad_k[0, :, keys] += slope.transpose(1, 2) @ queries
        return grad_q, grad_k, grad_v, None, None


def _blocks(spans: Sequence[tuple[int, int]]) -> list[tuple[slice, slice, int]]:
    """(query rows, visible keys, how many of those keys lie on the causal triangle) for each block of each example."""
    blocks = []
    for start, end in spans:
        for low in range(start, end, BLOCK):
            high = min(low + BLOCK, end)
            blocks.append((slice(low, high), slice(start, high), high - low))
    return blocks


def _scores(q: Tensor, k: Tensor, rows: slice, keys: slice, hidden: int, scale: float) -> Tensor:
    """Scaled scores in fp32, `[kv_heads, group * rows, keys]`, with later tokens at minus infinity."""
    grouped = _group(q[0, :, rows], k.shape[1])
    scores = (grouped @ k[0, :, keys].transpose(1, 2)).float().mul_(scale)
    triangle = torch.full((hidden, hidden), -math.inf, device=q.device).triu_(1)
    size = rows.stop - rows.start
    scores.view(k.shape[1], -1, size, scores.shape[-1])[..., -hidden:].add_(triangle)
    return scores


def _group(x: Tensor, kv_heads: int) -> Tensor:
    """`[heads, n, d]` to `[kv_heads, group * n, d]`: the heads that share keys become more rows of one product."""
    return x.reshape(kv_heads, -1, x.shape[-1])


def _ungroup(x: Tensor, heads: int) -> Tensor:
    return x.view(heads, -1, x.shape[-1])


def _like_rows(x: Tensor) -> Tensor:
    """Zeros shaped like x `[1, heads, n, d]`, laid out row by row as the projections are."""
    return x.new_zeros(x.shape[0], x.shape[2], x.shape[1], x.shape[3]).transpose(1, 2)


class SegmentAttention:
    """The attention function given to transformers, with the spans of the row that is passing through."""

    def __init__(self) -> None:
        self.spans: tuple[tuple[int, int], ...] | None = None

    def __call__(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
        dropout: float = 0.0, scaling: float | None = None, **kwargs: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        scale = scaling if scaling is not None else query.shape[-1] ** -0.5
        spans = self.spans or ((0, query.shape[2]),)
        if query.device.type == "cpu" and not dropout:
            rows = [
                CausalAttention.apply(query[i : i + 1], key[i : i + 1], value[i : i + 1], spans, scale)
                for i in range(query.shape[0])
            ]
            return rows[0] if len(rows) == 1 else torch.cat(rows), None
        pieces = [
            nn.functional.scaled_dot_product_attention(
                query[:, :, a:b], key[:, :, a:b], value[:, :, a:b],
                dropout_p=dropout, is_causal=True, scale=scale, enable_gqa=query.shape[1] != key.shape[1],
            ).transpose(1, 2)
            for a, b in spans
        ]  # fmt: skip
        return torch.cat(pieces, 1), None

    def install(self, model: Any) -> None:
        """Make `model` attend through this object; masks are not built, for the spans say all."""
        from transformers.masking_utils import AttentionMaskInterface
        from transformers.modeling_utils import AttentionInterface

        AttentionInterface.register(NAME, self)
        AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
        model.set_attn_implementation(NAME)
