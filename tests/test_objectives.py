"""Objectives: one formula for both backends, and a reference that is the base model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.backends import load_trainer
from engine.backends.base import Trainer
from engine.data.batching import batch_of_rows
from engine.data.types import Batch
from engine.errors import ConfigError
from engine.objectives.base import Objective, Ops, Outputs, Sums, sequence_logps
from engine.objectives.sft import Supervised
from tests.training import Job

ROWS = [[1, 5, 6, 7, 8, 2], [1, 5, 9, 4, 2], [1, 7, 7, 2], [1, 8, 9, 3, 2]]
FP32 = {"weights_dtype": "fp32", "compute_dtype": "fp32"}
BACKENDS = ("peft", "mlx")


class General(Supervised):
    """Supervised fine-tuning through the interface that all other methods use."""

    weighs_tokens = False


@dataclass(frozen=True)
class Compared(Objective):
    """A preference loss with a reference: -log sigmoid(beta x margin of log-ratios), as in DPO (arXiv:2305.18290)."""

    beta: float = 0.5
    needs_reference = True

    def normaliser(self, batches: Sequence[Batch]) -> float:
        return float(sum(len(np.unique(batch.group)) for batch in batches))

    def loss(self, outputs: Outputs, batch: Batch, ops: Ops) -> tuple[Any, Sums]:
        assert outputs.reference is not None
        ratios = sequence_logps(outputs.logps - outputs.reference, batch, ops)
        pairs = int(batch.group.max()) + 1
        margins = ops.sum_by(ratios * ops.array(batch.sign.astype(np.float32)), batch.group, pairs)
        return -ops.log_sigmoid(self.beta * margins).sum(), {"margin": (margins.sum(), float(pairs))}


def trainer(job: Job, backend: str, objective: Objective, **changes: Any) -> Trainer:
    plan = job.plan.changed(backend=backend, **{**FP32, **changes})
    return load_trainer(plan, job.config, job.model, objective)


def pairs() -> Batch:
    """Two pairs: of each the first row is chosen, the second rejected."""
    groups, signs = np.array([0, 0, 1, 1], dtype=np.int32), np.array([1, -1, 1, -1], dtype=np.int8)
    return replace(batch_of_rows(ROWS), group=groups, sign=signs)


def move(one: Trainer, objective: Objective, batch: Batch, steps: int = 4) -> list[Any]:
    normaliser = objective.normaliser([batch])
    return [one.step([batch], normaliser, 1e-2, seed, lambda: None) for seed in range(steps)]


@pytest.fixture
def job(tiny_model: Path, tmp_path: Path) -> Job:
    return Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["lora", "none"])
def test_general_sft_objective_matches_fused_one(
    tiny_model: Path, tmp_path: Path, backend: str, kind: str
) -> None:
    job = Job.make(
        tiny_model, tmp_path, adapter={"type": kind, "dropout": 0.0} if kind == "lora" else {"type": kind}
    )
    batch = batch_of_rows(ROWS)
    fused, general = (
        move(trainer(job, backend, objective), objective, batch) for objective in (Supervised(), General())
    )
    for one, other in zip(fused, general, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_token_counts_by_its_weight(job: Job, backend: str) -> None:
    batch, objective = batch_of_rows(ROWS), Supervised()
    one = trainer(job, backend, objective)
    factors = np.where(np.arange(len(batch.weights)) < 6, 0.5, 1).astype(np.float32)
    halved = replace(batch, weights=batch.weights * factors)
    assert objective.normaliser([halved]) == batch.trained_tokens - 2.5
    expected = -float((one.model.logps(batch) * halved.weights[halved.trained]).sum())
    assert one.evaluate(halved).loss == pytest.approx(expected, rel=1e-5)
    assert move(one, objective, halved, 1)[0].loss_sum == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_model_without_adapter_is_base(job: Job, backend: str) -> None:
    batch, objective = batch_of_rows(ROWS), Supervised()
    one = trainer(job, backend, objective)
    before = one.model.logps(batch)
    move(one, objective, batch)
    trained = one.model.logps(batch)
    assert np.abs(trained - before).max() > 0.1
    with one.model.without_adapter():
        assert np.allclose(one.model.logps(batch), before, atol=1e-5)
    assert (one.model.logps(batch) == trained).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("adapter", [{"type": "dora"}, {"init": "pissa"}], ids=str)
def test_base_model_returns_under_dora_and_pissa(
    tiny_model: Path, tmp_path: Path, backend: str, adapter: dict[str, Any]
) -> None:
    plain = trainer(Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0}), backend, Supervised())
    expected = plain.model.logps(batch_of_rows(ROWS))  # a fresh adapter changes nothing
    one = trainer(Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0, **adapter}), backend, Supervised())
    move(one, Supervised(), batch_of_rows(ROWS))
    with one.model.without_adapter():
        assert np.allclose(one.model.logps(batch_of_rows(ROWS)), expected, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_full_training_leaves_no_base_model(tiny_model: Path, tmp_path: Path, backend: str) -> None:
    one = trainer(Job.make(tiny_model, tmp_path, adapter={"type": "none"}), backend, Supervised())
    with pytest.raises(ConfigError, match="compares with the model as it was"), one.model.without_adapter():
        pass


def test_preference_loss_learns_on_both_backends(job: Job) -> None:
    """The same on torch and MLX."""
    objective, found = Compared(), dict[str, list[Any]]()
    for backend in BACKENDS:
        one, batch = trainer(job, backend, objective), pairs()
        found[backend] = move(one, objective, replace(batch, reference=one.model.logps(batch)), 16)
    ours, theirs = found.values()
    assert ours[0].loss == pytest.approx(np.log(2), rel=1e-5), "the margin is nothing before the first step"
    assert ours[-1].loss < 0.5 * ours[0].loss
    assert ours[-1].metrics["margin"] > 1
    for one, other in zip(ours[:5], theirs[:5], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=2e-2)
        assert one.metrics["margin"] == pytest.approx(other.metrics["margin"], rel=5e-2, abs=1e-3)


def both_ops() -> list[Ops]:
    from engine.backends.mlx.ops import MlxOps
    from engine.backends.torch.ops import TorchOps

    return [TorchOps(torch.device("cpu")), MlxOps()]


def test_operations_agree_with_numpy_on_both_backends() -> None:
    values, places = np.array([-800.0, -1.5, 0.0, 2.0], dtype=np.float32), np.array([3, 1])
    groups, below = np.array([0, 2, 2, 0]), np.array([-800.0, -20.0, -0.7, -1e-6], dtype=np.float32)
    for ops in both_ops():
        x = ops.array(values)
        found = {
            "take": (ops.take(x, places), values[places]),
            "sum_by": (ops.sum_by(x, groups, 3), np.array([-798.0, 0.0, -1.5])),
            "log_sigmoid": (ops.log_sigmoid(x), -np.logaddexp(0, -values)),
            "exp": (ops.exp(x), np.exp(values)),
            "log1m_exp": (ops.log1m_exp(ops.array(below)), np.log(-np.expm1(below.astype(np.float64)))),
            "maximum": (ops.maximum(x, 0.0), np.maximum(values, 0)),
            "constant": (ops.constant(x), values),
        }
        for name, (got, wanted) in found.items():
            assert np.allclose(np.array(got), wanted, rtol=1e-5), name
