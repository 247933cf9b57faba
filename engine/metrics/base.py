"""Metric: one number that is reported, how it is written for people, and which direction is better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Format = Literal["number", "percent", "nats", "decimal", "scientific", "count"]
Better = Literal["higher", "lower"]
Need = Literal["loss", "answers", "log_probabilities"]
WRITTEN: dict[Format, str] = {
    "number": "{:.5g}",
    "percent": "{:.1%}",
    "nats": "{:.4f}",
    "decimal": "{:.2f}",
    "scientific": "{:.2e}",
    "count": "{:.0f}",
}


@dataclass(frozen=True)
class Results:
    """Results of an evaluation on the validation rows. What no wanted metric needs, or the rows lack, is None."""

    loss: float | None = None
    """Mean loss, nats a trained token."""
    answers: Sequence[str] | None = None
    """Greedy answer to each validation prompt, in the order of `references`."""
    references: Sequence[str] = ()
    """Expected answers, as the rows have them."""
    log_probabilities: Sequence[float] | None = None
    """Natural logarithm of the probability of each trained token, row by row."""

    def has(self, needs: frozenset[Need]) -> bool:
        """True if all that a metric needs is there."""
        return all(getattr(self, need) is not None for need in needs)


@dataclass(frozen=True)
class Metric:
    """A number that steps or evaluations report under `name`.

    One that has `compute` can be named in `evaluation.metrics` and `checkpoints.best`; it is called with the results
    that it `needs` and returns the number. Another package brings one by the entry point group `ft.metrics`.
    """

    name: str
    label: str = ""
    """Words for people; the name where empty."""
    format: Format = "number"
    unit: str = ""
    better: Better | None = None
    """None: neither direction is better, as for a learning rate."""
    needs: frozenset[Need] = frozenset()
    compute: Callable[[Results], float] | None = None

    @property
    def title(self) -> str:
        """Name for people, as on a chart."""
        return self.label or self.name

    def written(self, value: float) -> str:
        """The value as a person reads it: `12.5%`, `1.5000`, `350 tokens/s`."""
        return WRITTEN[self.format].format(value) + (f" {self.unit}" if self.unit else "")

    def improves(self, value: float, on: float | None) -> bool:
        """True if `value` is better than `on`; any number is better than None, NaN than nothing.

        False for a metric without a direction.
        """
        if self.better is None or value != value:
            return False
        if on is None or on != on:
            return True
        return value < on if self.better == "lower" else value > on


def scored(metrics: Sequence[Metric], results: Results) -> dict[str, float]:
    """Compute those of the metrics for which the results have all that they need, by name."""
    return {
        metric.name: metric.compute(results)
        for metric in metrics
        if metric.compute is not None and results.has(metric.needs)
    }
