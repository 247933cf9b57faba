"""Liger's fused loss is ours, on real Triton kernels under its interpreter; without them ours is used, and told.

`make test-unsloth` runs all of it, where Triton is: with TRITON_INTERPRET=1 its kernels run on the CPU.
"""

import dataclasses
import importlib.util
import inspect
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.backends.torch.liger import liger_loss, proven_loss
from engine.backends.torch.loss import HeadLoss
from engine.backends.torch.memory_model import liger_rows
from tests.plan_fixtures import SMALL
from tests.training import Job, batch_of, train_step

BATCH = batch_of([[3, 40, 50, 60, 70, 80, 90, 33], [3, 91, 92, 93]], packed=False)
needs_liger = pytest.mark.skipif(
    importlib.util.find_spec("liger_kernel") is None or os.environ.get("TRITON_INTERPRET") != "1",
    reason="see `make test-unsloth`",
)


def both(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None) -> list[list[Tensor]]:
    """Loss and gradient of the hidden states, ours and Liger's."""
    found = []
    for loss in (HeadLoss.apply, liger_loss()):
        leaf = hidden.clone().requires_grad_()
        value = loss(leaf, targets, weight, bias)
        (gradient,) = torch.autograd.grad(value / len(targets), leaf)
        found.append([value.detach().float(), gradient.float()])
    return found


@needs_liger
@pytest.mark.parametrize("tokens", [1, 300], ids=["one chunk", "many chunks"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_liger_loss_and_gradient_match_ours(tokens: int, with_bias: bool) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(tokens, 16), torch.randn(101, 16)
    bias = torch.randn(101) if with_bias else None
    ours, theirs = both(hidden, torch.randint(101, (tokens,)), weight, bias)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@needs_liger
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_liger_loss_is_close_in_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(40, 64).to(dtype), torch.randn(384, 64).to(dtype)
    for a, b in zip(*both(hidden, torch.randint(384, (40,)), weight, None), strict=True):
        assert (a - b).norm() <= 1e-2 * a.norm()


@needs_liger
def test_training_step_is_same_with_liger(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0})
    results, gradients = [], []
    for kernels in ("own", "liger"):
        backend = job.backend(weights_dtype="fp32", compute_dtype="fp32", kernels=kernels)
        assert (backend.model.head_loss == HeadLoss.apply) == (kernels == "own")
        backend.model.summed_loss(BATCH).backward()
        gradients.append([p.grad.clone() for p in backend.trained.values()])
        backend.optimizer.zero_grad()
        results.append(train_step(backend, [BATCH], 1e-3, 0, lambda: None))
    assert results[1].loss_sum == pytest.approx(results[0].loss_sum, rel=1e-5)
    assert results[1].grad_norm == pytest.approx(results[0].grad_norm, rel=1e-4)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@needs_liger
def test_liger_loss_takes_passed_arguments() -> None:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    settings = inspect.signature(LigerFusedLinearCrossEntropyLoss.__init__).parameters
    assert {"reduction", "ignore_index"} <= set(settings)
    taken = list(inspect.signature(LigerFusedLinearCrossEntropyLoss.forward).parameters)
    assert taken == ["self", "lin_weight", "_input", "target", "bias"]


@needs_liger
@pytest.mark.parametrize("trained", [1, 7, 300, 4800])
def test_liger_chunks_match_the_plan(trained: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from liger_kernel.ops import fused_linear_cross_entropy as source

    shape = dataclasses.replace(SMALL, hidden=16, vocab=101)
    taken: list[int] = []

    class Counted:
        """The kernel's launcher: rows of a chunk are its grid."""

        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            taken.append(grid[0])
            return lambda **arguments: None

    monkeypatch.setattr(source, "liger_cross_entropy_kernel", Counted())
    hidden = torch.randn(trained, 16, requires_grad=True)
    liger_loss()(hidden, torch.zeros(trained, dtype=torch.int64), torch.randn(101, 16), None)
    assert max(taken) == liger_rows(trained, shape)


def test_special_head_keeps_our_loss() -> None:
    """A trained head, or one that is held otherwise, does not take Liger's."""
    weight = torch.randn(20, 8)
    assert proven_loss(nn.Parameter(weight), None, torch.float32) == HeadLoss.apply
    assert proven_loss(weight.bfloat16(), None, torch.float32) == HeadLoss.apply


@pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is not None, reason="Liger is installed")
def test_our_loss_runs_where_liger_fails() -> None:
    """The log says why."""
    with pytest.warns(UserWarning, match="liger_kernel"):
        assert proven_loss(torch.randn(20, 8), None, torch.float32) == HeadLoss.apply
