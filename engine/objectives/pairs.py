"""What methods share that learn from pairs: a chosen and a rejected answer to one prompt."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.objectives.base import Objective, Ops, Sums, sequence_logps, sequence_tokens

if TYPE_CHECKING:
    from engine.data.types import Batch


class PairObjective(Objective):
    """An objective whose loss is a sum over pairs."""

    def normaliser(self, batches: "Sequence[Batch]") -> float:
        """The number of pairs."""
        return float(sum(pairs_in(batch) for batch in batches))


class Sides(NamedTuple):
    """A value of each pair's chosen and of its rejected answer, both `[pairs]`."""

    chosen: Any
    rejected: Any

    @property
    def margin(self) -> Any:
        """By how much the chosen answer leads, `[pairs]`."""
        return self.chosen - self.rejected


def pairs_in(batch: "Batch") -> int:
    """The number of pairs in a batch."""
    return int(batch.group.max()) + 1


def sides(values: Any, batch: "Batch", ops: Ops) -> Sides:
    """Values of the sequences `[sequences]`, by pair and side."""
    groups, count = batch.group, pairs_in(batch)
    chosen, rejected = (ops.array((batch.sign == sign).astype("float32")) for sign in (1, -1))
    return Sides(ops.sum_by(values * chosen, groups, count), ops.sum_by(values * rejected, groups, count))


def mean_logps(logps: Any, batch: "Batch", ops: Ops) -> Any:
    """The mean log-probability of a trained token of each sequence, `[sequences]`, from those of the tokens `[n]`."""
    return sequence_logps(logps, batch, ops) / sequence_tokens(batch, ops)


def margin_loss(margins: Any, kind: str, smoothing: float, ops: Ops) -> Any:
    """The loss of each pair `[pairs]` from its margin, in which the temperature is included.

    `sigmoid`: -log sigmoid(m), the Bradley-Terry likelihood of the preference (arXiv:2305.18290, eq. 7); `hinge`:
    max(0, 1 - m) (arXiv:2305.10425). `smoothing` is the probability that a label is the wrong way round: the loss of
    the turned pair takes this share (arXiv:2305.18290, code; named cDPO).
    """
    if kind == "hinge":
        return ops.maximum(1.0 - margins, 0.0)
    right = -ops.log_sigmoid(margins)
    return right if not smoothing else (1 - smoothing) * right - smoothing * ops.log_sigmoid(-margins)


MARGINS = ("preference_accuracy", "reward_margin", "chosen_reward", "rejected_reward")
"""Names of what `margin_metrics` reports."""


def margin_metrics(rewards: Sides) -> dict[str, tuple[Any, float]]:
    """Metrics of a batch from the rewards of both sides: how often and by how much the chosen answer leads."""
    values = (rewards.margin > 0, rewards.margin, rewards.chosen, rewards.rejected)
    pairs = float(rewards.margin.shape[0])
    return {name: (value.sum(), pairs) for name, value in zip(MARGINS, values, strict=True)}


def chosen_loss(means: Sides) -> tuple[Any, Sums]:
    """The summed negative log-likelihood of the chosen answers, each the mean over its tokens; and its metric."""
    loss = -means.chosen.sum()
    return loss, {"chosen_loss": (loss, float(means.chosen.shape[0]))}
