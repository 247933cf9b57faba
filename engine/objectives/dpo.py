"""Direct preference optimisation: the chosen answer is to gain more on the reference than the rejected one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from engine.config.values import Section, Switch
from engine.methods import Method
from engine.objectives.base import Ops, Outputs, Sums, sequence_logps
from engine.objectives.pairs import (
    MARGINS,
    PairObjective,
    Sides,
    margin_loss,
    margin_metrics,
    mean_logps,
    sides,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.data.types import Batch


class Dpo(Section):
    """Direct preference optimisation (arXiv:2305.18290): pairs, compared with the model before training."""

    beta: Annotated[float, Field(gt=0)] = 0.1
    """How closely the model is held to the one before training; the higher, the closer."""
    loss: Literal["sigmoid", "hinge", "ipo", "robust"] = "sigmoid"
    """Loss of a pair: DPO's own, a hinge, a squared distance to 1/(2 beta), or one for labels with errors."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs that are probably labelled the wrong way round; for sigmoid and robust."""
    length_normalised: Switch = False
    """Compare mean log-probabilities a token, so that long answers gain nothing by their length."""


@dataclass(frozen=True)
class DpoObjective(PairObjective):
    """With h the gain of the chosen answer on the reference less that of the rejected one, in nats: the loss of a pair
    is a function of beta x h.

    `ipo` is (h - 1 / (2 beta))² (arXiv:2310.12036, eq. 17). `robust` is the sigmoid loss less the bias that wrong
    labels give it (arXiv:2403.00409, eq. 12).
    """

    keys: Dpo
    needs_reference = True

    def loss(self, outputs: Outputs, batch: "Batch", ops: Ops) -> tuple[Any, Sums]:
        sums = mean_logps if self.keys.length_normalised else sequence_logps
        gains = sides(sums(outputs.logps - outputs.reference, batch, ops), batch, ops)
        beta = self.keys.beta
        return self._of_pairs(gains.margin, ops).sum(), margin_metrics(
            Sides(beta * gains.chosen, beta * gains.rejected)
        )

    def _of_pairs(self, leads: Any, ops: Ops) -> Any:
        """The loss of each pair `[pairs]` from h."""
        beta, smoothing = self.keys.beta, self.keys.label_smoothing
        match self.keys.loss:
            case "ipo":
                distance = leads - 1 / (2 * beta)
                return distance * distance
            case "robust":
                right, turned = -ops.log_sigmoid(beta * leads), -ops.log_sigmoid(-beta * leads)
                return ((1 - smoothing) * right - smoothing * turned) / (1 - 2 * smoothing)
            case kind:
                return margin_loss(beta * leads, kind, smoothing, ops)


def problems(keys: Dpo) -> "Iterator[tuple[str, str]]":
    """Keys that do not go together, each with the reason."""
    if keys.label_smoothing and keys.loss in ("hinge", "ipo"):
        yield (
            "label_smoothing",
            f"loss: {keys.loss} has no smoothing; use loss: sigmoid or robust, or leave it out",
        )
    if keys.loss == "robust" and not keys.label_smoothing:
        yield (
            "loss",
            "robust corrects for the share of wrong labels; say it in label_smoothing, or use loss: sigmoid",
        )


METHOD = Method(
    "dpo",
    DpoObjective,
    Dpo,
    samples="pairs",
    summary="direct preference optimisation",
    metrics=MARGINS,
    problems=problems,
)
