"""mlx-train-perf in the place of ft's own loss and mask: the real package, on its CPU implementations."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn

from engine.backends import load_trainer
from engine.backends.mlx.attention import Segments
from engine.backends.mlx.kernels import Kernels, Spans, _spans
from engine.backends.mlx.loss import Head, head_loss, head_losses
from engine.backends.mlx.trainer import MlxTrainer
from engine.data.types import Batch
from tests.training import Job, batch_of, train_step

package = pytest.importorskip("mlx_train_perf", reason="mlx-train-perf is not installed")
from mlx_train_perf.errors import MlxTrainPerfError  # noqa: E402 - not before it is known to be there

attention = pytest.importorskip("mlx_train_perf.attention.api")

ROWS = [[3, 40, 50, 60, 70, 80], [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]]
OTHERS = [[3, 41, 51], [3, 61, 62, 63, 64, 65, 66, 67, 68, 69], [3, 34, 45, 56, 67, 78]]
"""The same shape when packed, laid out otherwise."""


def quiet() -> None:
    """A poll with nothing to say."""


def both(job: Job, **changes: Any) -> tuple[MlxTrainer, MlxTrainer]:
    """The backend with ft's own loss and mask, and with the package's."""
    plan = job.plan.changed(
        backend="mlx", weights_dtype="fp32", compute_dtype="fp32", packing=True, **changes
    )
    found = [
        load_trainer(plan.changed(kernels=kernels), job.config, job.model)
        for kernels in ("own", "mlx-train-perf")
    ]
    assert all(
        isinstance(one, MlxTrainer) and one.model.supports_packing and one.model.plain_head for one in found
    )
    return found[0], found[1]


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """Without mx.compile, which calls the C++ compiler for every new shape."""
    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.mark.parametrize("adapter", [{"dropout": 0.0}, {"type": "none"}], ids=["lora", "full"])
def test_run_learns_same_with_kernel_package(
    tiny_model: Path, tmp_path: Path, adapter: dict[str, Any], uncompiled: None
) -> None:
    own, theirs = both(Job.make(tiny_model, tmp_path, adapter=adapter))
    calls = dict(attention.VJP_CALLS)
    for packed in (True, False):
        learn_alike(own, theirs, batch_of(ROWS, packed))
    assert calls != attention.VJP_CALLS, "the package was not asked"
    answers = [backend.model.generate([ROWS[0]], 4, [], quiet) for backend in (own, theirs)]
    assert answers[0] == answers[1]


def test_compiled_step_sees_each_batch_layout(tiny_model: Path, tmp_path: Path) -> None:
    """A recomputed one does too."""
    job = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0})
    own, theirs = both(job, gradient_checkpointing=True)
    for rows in (ROWS, OTHERS, ROWS):
        learn_alike(own, theirs, batch_of(rows, packed=True))


def learn_alike(own: MlxTrainer, theirs: MlxTrainer, batch: Batch) -> None:
    """One step and the losses after it, of both."""
    one, other = (train_step(backend, [batch], 1e-2, 0, quiet) for backend in (own, theirs))
    assert other.loss_sum == pytest.approx(one.loss_sum, rel=1e-4)
    assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-3)
    assert np.allclose(*(backend.model.logps(batch).tolist() for backend in (own, theirs)), atol=1e-3)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("layer", ["dense", "tied", "4bit"])
def test_kernel_loss_and_gradients_match_ours(layer: str, trained: bool) -> None:
    if layer == "4bit" and trained:
        pytest.skip("quantised weights are not trained")
    mx.random.seed(0)
    plain = nn.Embedding(300, 64) if layer == "tied" else nn.Linear(64, 300, bias=False)
    head = Head(nn.QuantizedLinear.from_linear(plain, 64, 4) if layer == "4bit" else plain)
    kernels = Kernels("cpu")
    assert kernels.takes(head)
    hidden, targets = mx.random.normal((40, 64)), mx.random.randint(0, 300, (40,))
    counted = (mx.arange(40) < 31).astype(mx.float32)

    def own(x: mx.array) -> mx.array:
        return head_loss(head, trained)(x, targets, counted)

    def theirs(x: mx.array) -> mx.array:
        return (kernels.losses(head, trained, x, targets) * counted).sum()

    assert np.allclose(
        head_losses(head, hidden, targets), kernels.losses(head, False, hidden, targets), atol=1e-4
    )
    (one, slope), (other, slopes) = (mx.value_and_grad(loss)(hidden) for loss in (own, theirs))
    assert float(one) == pytest.approx(float(other), rel=1e-5)
    assert np.allclose(slope, slopes, atol=1e-4)


def test_unsupported_heads_keep_our_loss() -> None:
    kernels = Kernels("cpu")
    assert not kernels.takes(Head(nn.Linear(64, 300)))
    for bits, group in ((8, 64), (4, 32)):
        layer = nn.QuantizedLinear.from_linear(nn.Linear(64, 300, bias=False), group, bits)
        assert not kernels.takes(Head(layer))


def test_kernel_segments_rise_with_padding_last() -> None:
    segments = mx.array([[3, 3, 1, 1, 1, 0, 0], [2, 2, 2, 2, 2, 2, 2]])
    told = _spans(segments)
    told.validate()
    assert told.seg_id.tolist() == [[0, 0, 1, 1, 1, 2, 2], [0] * 7]
    assert told.seg_start.tolist() == [[0, 0, 2, 2, 2, 5, 5], [0] * 7]


def test_window_shorter_than_row_keeps_mask() -> None:
    segments = mx.array([[1, 1, 1, 1, 2, 2, 0, 0]])
    spans = Spans(segments, 3, Kernels("cpu"))
    wanted = Segments(segments, 3).make_mask(8)
    assert isinstance(wanted, mx.array)
    assert np.array_equal(spans.make_mask(8), wanted)
    assert Spans(segments, 8, Kernels("cpu")).make_mask(8) == "causal"


def test_kernel_package_takes_our_arguments() -> None:
    from mlx_train_perf.attention import flash_attention
    from mlx_train_perf.attention.segments import PackedMask

    def takes(function: Any) -> set[str]:
        return set(inspect.signature(function).parameters)

    assert {"impl", "reduction", "validate_targets"} <= takes(package.linear_cross_entropy)
    assert {"weight", "trainable"} <= takes(package.DenseHead)
    assert {"w_q", "scales", "biases", "group_size", "bits"} <= takes(package.QuantizedHead)
    assert {"scale", "causal", "impl", "segments"} <= takes(flash_attention)
    assert {"seg_id", "seg_start"} == takes(PackedMask)


def test_kernels_refuse_what_plan_never_verified() -> None:
    """A plan made for another installation cannot run them in silence."""
    head = Head(nn.Linear(64, 300, bias=False))
    with pytest.raises((MlxTrainPerfError, RuntimeError)):
        mx.eval(Kernels("mps").losses(head, False, mx.zeros((4, 64)), mx.zeros((4,), mx.int32)))
