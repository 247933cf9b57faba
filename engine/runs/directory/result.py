"""Result of a run: which checkpoint it is of, how good that one is, and whether there is a better one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.metrics.registry import EVAL_LOSS, describe
from engine.runs.directory.state import RunState

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig

FOLDERS = ("adapter", "model")
"""Names of a result in a run's folder or a checkpoint's: an adapter, or the whole model after full training."""


def result_name(config: "TrainConfig") -> str:
    """The one of `FOLDERS` that a recipe's training makes."""
    return "model" if config.adapter.type == "none" else "adapter"


def weights_in(folder: Path) -> Path | None:
    """The adapter's or model's folder within that of a run or a checkpoint; None before there is one."""
    return next((folder / name for name in FOLDERS if (folder / name).is_dir()), None)


@dataclass(frozen=True)
class Better:
    """An evaluation that was better than the result's, by the metric that `checkpoints.best` names.

    `folder` is the adapter or model in its checkpoint; None where there is no checkpoint of that step: before training
    (step 0), or removed since."""

    step: int
    loss: float
    """Its value of `metric`: a loss, unless the recipe names another."""
    folder: Path | None
    metric: str = EVAL_LOSS


@dataclass(frozen=True)
class Result:
    """A run's adapter or model. `step` and `loss` (validation, nats a token) are None where the events do not tell."""

    folder: Path
    step: int | None = None
    loss: float | None = None
    rank: str = ""
    """`the best`, `the last`, or empty."""
    better: Better | None = None

    @property
    def which(self) -> str:
        """`step 2, the best`; empty where nothing is known."""
        known = [] if self.step is None else [f"step {self.step}", self.rank]
        return ", ".join(filter(None, known))

    @staticmethod
    def of(run: Path, state: RunState) -> "Result | None":
        """Result in a run's folder, as its events describe it; None before there is one."""
        folder = weights_in(run)
        if folder is None:
            return None
        better = _better(run, state, folder.name)
        rank = "the best" if state.published == state.best_step else "the last"
        told = state.published is not None and (rank == "the best" or state.published == state.step)
        return Result(folder, state.published, state.published_loss, rank if told else "", better)


def _better(run: Path, state: RunState, kind: str) -> Better | None:
    if state.best is None or state.best_step is None or state.published_score is None:
        return None
    if not describe(state.best_metric).improves(state.best, state.published_score):
        return None
    folder = run / "checkpoints" / f"step-{state.best_step:06d}" / kind
    return Better(state.best_step, state.best, folder if folder.is_dir() else None, state.best_metric)
