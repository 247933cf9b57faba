"""The functions that were rewritten to save memory compute what the plain ones compute, forward and backward."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.backends.torch.attention import SegmentAttention
from engine.backends.torch.lora import GatedProjection, Projections, Shared
from engine.backends.torch.loss import HeadLoss, token_losses
from engine.backends.torch.norm import NormOf, RmsNorm


def test_packed_attention_matches_single_examples() -> None:
    torch.manual_seed(0)
    attention = SegmentAttention()
    lengths = [30, 1, 12]
    q, k, v = (torch.randn(1, heads, 43, 16, requires_grad=True) for heads in (6, 2, 2))
    attention.lengths = lengths
    packed, _ = attention(nn.Module(), q, k, v, None)
    attention.lengths = None
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (q, k, v)), strict=True)
    alone = torch.cat([attention(nn.Module(), *part, None)[0] for part in parts], dim=1)
    scores = (q @ k.repeat_interleave(3, 1).transpose(2, 3)) / 4
    examples = torch.arange(3).repeat_interleave(torch.tensor(lengths))
    seen = (examples[:, None] == examples) & torch.ones(43, 43, dtype=torch.bool).tril()
    formula = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v.repeat_interleave(3, 1)
    torch.testing.assert_close(packed, alone)
    torch.testing.assert_close(packed, formula.transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "lengths"), [(1, [30, 1, 112]), (1, [300]), (3, [97]), (2, [32])])
def test_attention_gradients_match_formula(dtype: torch.dtype, rows: int, lengths: list[int]) -> None:
    """In a format with few digits, over examples shorter and longer than a tile, packed and padded."""
    torch.manual_seed(6)
    attention = SegmentAttention()
    attention.lengths = lengths
    n = sum(lengths)
    q, k, v = (
        torch.randn(rows, n, heads, 16, dtype=dtype).transpose(1, 2).requires_grad_() for heads in (6, 2, 2)
    )
    ours, _ = attention(nn.Module(), q, k, v, None, scaling=0.3)
    slope = torch.randn_like(ours)
    exact = [tensor.detach().double().requires_grad_() for tensor in (q, k, v)]
    examples = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    seen = (examples[:, None] == examples) & torch.ones(n, n, dtype=torch.bool).tril()
    scores = 0.3 * exact[0] @ exact[1].repeat_interleave(3, 1).transpose(2, 3)
    plain = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ exact[2].repeat_interleave(3, 1)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert (ours - plain.transpose(1, 2)).norm() < tolerance * plain.norm()
    wanted = torch.autograd.grad(plain.transpose(1, 2), exact, slope.double())
    for got, expected in zip(torch.autograd.grad(ours, (q, k, v), slope), wanted, strict=True):
        assert got.dtype == dtype
        assert (got - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"softcap": 50.0}, {"sliding_window": 60}], ids=str)
def test_examples_that_share_a_prefix_attend_as_if_each_had_it(
    dtype: torch.dtype, options: dict[str, Any]
) -> None:
    """The second and the fourth example begin as the one before them, which alone holds those tokens."""
    torch.manual_seed(7)
    attention, lengths, prefixes = SegmentAttention(), [100, 30, 45, 110], [0, 70, 0, 33]
    attention.lengths, attention.prefixes = lengths, prefixes
    n = sum(lengths)
    q, k, v = (
        torch.randn(1, n, heads, 16, dtype=dtype).transpose(1, 2).requires_grad_() for heads in (6, 2, 2)
    )
    shared, _ = attention(nn.Module(), q, k, v, None, scaling=0.3, **options)
    attention.lengths = attention.prefixes = None
    starts, apart = np.cumsum([0, *lengths]), []
    for at, (length, prefix) in enumerate(zip(lengths, prefixes, strict=True)):
        first = torch.arange(starts[at - 1], starts[at - 1] + prefix) if prefix else torch.arange(0)
        places = torch.cat([first, torch.arange(starts[at], starts[at] + length)])
        whole = (x.float()[:, :, places] for x in (q, k, v))
        apart.append(attention(nn.Module(), *whole, None, scaling=0.3, **options)[0][:, prefix:])
    plain = torch.cat(apart, 1)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert (shared - plain).norm() < tolerance * plain.norm()
    slope = torch.randn_like(plain)
    wanted = torch.autograd.grad(plain, (q, k, v), slope)
    for got, expected in zip(torch.autograd.grad(shared, (q, k, v), slope.to(dtype)), wanted, strict=True):
        assert (got - expected).float().norm() < tolerance * expected.float().norm()


@pytest.mark.parametrize("with_rows", [False, True])
def test_loss_gradients_match_formula(
    with_rows: bool,
) -> None:
    """Covers a trained head, a bias and rows."""
    torch.manual_seed(3)
    hidden, weight = torch.randn(9, 8, requires_grad=True), torch.randn(20, 8, requires_grad=not with_rows)
    bias, rows = torch.randn(20, requires_grad=not with_rows), torch.randn(2, 8, requires_grad=True)
    targets, ids = torch.randint(20, (9,)), torch.tensor([19, 4])
    targets[:3] = torch.tensor([4, 19, 4])
    used = weight.index_copy(0, ids, rows) if with_rows else weight
    plain = nn.functional.cross_entropy(hidden @ used.T + bias, targets, reduction="sum")
    more = (rows, ids) if with_rows else ()
    ours = HeadLoss.apply(hidden, targets, weight, bias, *more)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(token_losses(hidden, targets, weight, bias, *more).sum(), plain)
    trained = (hidden, rows) if with_rows else (hidden, weight, bias)
    for got, wanted in zip(
        torch.autograd.grad(3 * ours, trained), torch.autograd.grad(3 * plain, trained), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_norm_gradient_matches_formula() -> None:
    torch.manual_seed(1)
    x = torch.randn(3, 5, 8, dtype=torch.float32, requires_grad=True)
    weight = torch.rand(8, requires_grad=True)
    plain = weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)
    slope = torch.randn_like(plain)
    ours = RmsNorm.apply(x, weight, 1e-5)
    torch.testing.assert_close(ours, plain)
    for got, expected in zip(
        torch.autograd.grad((ours * slope).sum(), (x, weight)),
        torch.autograd.grad((plain * slope).sum(), (x, weight)),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


def test_sliding_window_hides_earlier_tokens() -> None:
    torch.manual_seed(5)
    attention = SegmentAttention()
    attention.lengths = [12, 4]
    q, k, v = (torch.randn(1, 2, 16, 8) for _ in range(3))
    windowed, _ = attention(nn.Module(), q, k, v, None, sliding_window=5)
    position = torch.arange(12)
    distance = position[:, None] - position
    scores = (q @ k.transpose(2, 3) / 8**0.5)[..., :12, :12]
    formula = scores.masked_fill((distance < 0) | (distance >= 5), -torch.inf).softmax(-1) @ v[:, :, :12]
    torch.testing.assert_close(windowed[:, :12], formula.transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_values_may_be_of_another_width_than_keys() -> None:
    """As in DeepSeek's latent attention."""
    torch.manual_seed(5)
    attention = SegmentAttention()
    attention.lengths = [12, 4]
    q, k, v = (torch.randn(1, 2, 16, width) for width in (8, 8, 6))
    ours, _ = attention(nn.Module(), q, k, v, None)
    scores = (q @ k.transpose(2, 3) / 8**0.5)[..., :12, :12]
    seen = torch.ones(12, 12, dtype=torch.bool).tril()
    formula = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v[:, :, :12]
    torch.testing.assert_close(ours[:, :12], formula.transpose(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
def test_gated_layer_gradient_matches_formula(kept: torch.dtype) -> None:
    torch.manual_seed(2)
    layer = nn.Linear(8, 6).requires_grad_(False)
    gate, up = (torch.randn(1, 5, 8, requires_grad=True) for _ in range(2))
    a, b = torch.randn(4, 8, requires_grad=True), torch.randn(6, 4, requires_grad=True)
    ours = GatedProjection.apply(gate, up, Shared((layer,), (0.5,)), kept, a, b)
    x = nn.functional.silu(gate) * up
    plain = layer(x) + 0.5 * (x @ a.T) @ b.T
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    slope = torch.randn_like(plain)
    got = torch.autograd.grad((ours * slope).sum(), (gate, up, a, b))
    expected = torch.autograd.grad((plain * slope).sum(), (gate, up, a, b))
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if kept == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("with_norm", [False, True])
def test_shared_input_layers_gradients_match_formula(
    dtype: torch.dtype, drop: float, with_norm: bool
) -> None:
    """The second layer has no adapter, the third one of another rank."""
    torch.manual_seed(3)
    layers = tuple(nn.Linear(12, out, dtype=dtype).requires_grad_(False) for out in (10, 6, 8))
    x = torch.randn(2, 7, 12, dtype=dtype, requires_grad=True)
    a = [torch.randn(rank, 12, requires_grad=True) for rank in (4, 0, 2)]
    b = [torch.randn(out, rank, requires_grad=True) for out, rank in ((10, 4), (6, 0), (8, 2))]
    weight = torch.rand(12, dtype=dtype) + 0.5
    norm = NormOf(weight, 1e-5) if with_norm else None
    ours = Projections.apply(x, Shared(layers, (0.5, 0.0, 2.0), drop, 9, norm), *a, *b)
    mask = torch.ones(14, 12)
    if drop:
        generator = torch.Generator().manual_seed(9)
        mask = torch.empty(2, 7, 12).bernoulli_(1 - drop, generator=generator) / (1 - drop)
    inputs = x.double()
    if with_norm:
        inputs = inputs * torch.rsqrt(inputs.square().mean(-1, keepdim=True) + 1e-5) * weight.double()
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 5e-2, "atol": 0.3}
    plain = []
    for i, (layer, scale) in enumerate(zip(layers, (0.5, 0.0, 2.0), strict=True)):
        low = (inputs * mask.view(2, 7, 12).double()) @ a[i].double().T
        y = inputs @ layer.weight.double().T + layer.bias.double() + scale * low @ b[i].double().T
        torch.testing.assert_close(ours[i].double(), y, **tolerance)
        plain.append((y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum())
    mine = sum((y.double() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum() for y in ours)
    wanted = (x, a[0], a[2], b[0], b[2])
    got, expected = torch.autograd.grad(mine, wanted), torch.autograd.grad(sum(plain), wanted)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one.double(), other.double(), **tolerance)


def test_half_precision_loss_keeps_confidence() -> None:
    """At a probability of 0.9999, softmax minus one is -0.0001: bf16 holds it, though not 0.9999 itself."""
    logits = torch.zeros(1, 4)
    logits[0, 2] = 10.3125
    hidden = logits.bfloat16().requires_grad_()
    HeadLoss.apply(hidden, torch.tensor([2]), torch.eye(4, dtype=torch.bfloat16), None).backward()
    exact = logits.double().softmax(-1)
    exact[0, 2] -= 1
    torch.testing.assert_close(hidden.grad.double(), exact, rtol=1e-2, atol=0)


@pytest.mark.parametrize("head_dtype", [torch.float32, torch.bfloat16])
def test_chunked_loss_is_cross_entropy(head_dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.backends.torch.loss.CHUNK_BYTES", 4 * 50 * 3)  # three rows a chunk
    monkeypatch.setattr("engine.backends.torch.loss.PIECE_BYTES", 4 * 50 * 2)
    monkeypatch.setattr("engine.backends.torch.loss.VOCAB_BLOCK", 16)
    torch.manual_seed(4)
    hidden = torch.randn(11, 6, requires_grad=True)
    weight = torch.randn(50, 6).to(head_dtype).requires_grad_(head_dtype == torch.float32)
    targets = torch.randint(50, (11,))
    plain = nn.functional.cross_entropy(hidden @ weight.float().T, targets, reduction="none")
    ours = HeadLoss.apply(hidden, targets, weight, None)
    torch.testing.assert_close(ours, plain.sum())
    torch.testing.assert_close(token_losses(hidden, targets, weight), plain)
    inputs = (hidden, weight) if weight.requires_grad else (hidden,)
    for got, expected in zip(
        torch.autograd.grad(2 * ours, inputs), torch.autograd.grad(2 * plain.sum(), inputs), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
