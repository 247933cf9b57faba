"""The functions that were rewritten to save memory compute what the plain ones compute, forward and backward."""

import pytest
import torch
from torch import nn

from engine.backends.torch.attention import SegmentAttention
from engine.backends.torch.lora import GatedLoraProduct, LoraProduct, Product
from engine.backends.torch.loss import HeadLoss, token_losses
from engine.backends.torch.norm import RmsNorm


def test_attention_of_a_packed_row_is_that_of_its_examples_alone() -> None:
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


def test_a_norm_has_the_gradient_of_its_formula() -> None:
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


def test_a_gated_layer_has_the_gradient_of_its_formula() -> None:
    torch.manual_seed(2)
    layer = nn.Linear(8, 6).requires_grad_(False)
    gate, up = (torch.randn(1, 5, 8, requires_grad=True) for _ in range(2))
    a, b = torch.randn(4, 8, requires_grad=True), torch.randn(6, 4, requires_grad=True)
    ours = GatedLoraProduct.apply(gate, up, a, b, Product(layer, 0.5))
    x = nn.functional.silu(gate) * up
    plain = layer(x) + 0.5 * (x @ a.T) @ b.T
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    slope = torch.randn_like(plain)
    got = torch.autograd.grad((ours * slope).sum(), (gate, up, a, b))
    expected = torch.autograd.grad((plain * slope).sum(), (gate, up, a, b))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_an_adapted_layer_has_the_gradient_of_its_formula(dtype: torch.dtype, drop: float) -> None:
    torch.manual_seed(3)
    layer = nn.Linear(12, 10, dtype=dtype).requires_grad_(False)
    x = torch.randn(2, 7, 12, dtype=dtype, requires_grad=True)
    a, b = torch.randn(4, 12, requires_grad=True), torch.randn(10, 4, requires_grad=True)
    ours = LoraProduct.apply(x, a, b, Product(layer, 0.5, drop, seed=9))
    mask = torch.ones_like(x)
    if drop:
        generator = torch.Generator().manual_seed(9)
        mask = torch.empty(x.shape).bernoulli_(1 - drop, generator=generator) / (1 - drop)
    wide = [t.double() for t in (x, a, b, layer.weight, layer.bias, mask)]
    plain = wide[0] @ wide[3].T + wide[4] + 0.5 * ((wide[0] * wide[5]) @ wide[1].T) @ wide[2].T
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 5e-2, "atol": 0.2}
    torch.testing.assert_close(ours.double(), plain, **tolerance)
    slope = torch.randn_like(plain)
    got = torch.autograd.grad((ours.double() * slope).sum(), (x, a, b))
    expected = torch.autograd.grad((plain * slope).sum(), (x, a, b))
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one.double(), other.double(), **tolerance)


@pytest.mark.parametrize("head_dtype", [torch.float32, torch.bfloat16])
def test_the_chunked_loss_is_cross_entropy(head_dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.backends.torch.loss.CHUNK_BYTES", 4 * 50 * 3)  # three rows a chunk
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
