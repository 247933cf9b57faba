"""Metric: one number that is reported, how it is written for people, and which direction is better."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Format = Literal["number", "percent", "nats", "decimal", "scientific", "count"]
Better = Literal["higher", "lower"]
Need = Literal["loss", "answers", "log_probabilities", "label_scores"]
Statistics = tuple[float, ...]
"""Statistics of one row. A metric's value over many rows depends on their sums alone."""
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
    losses: Sequence[tuple[float, int]] | None = None
    """Summed loss (nats) and number of trained tokens of each row; there may be more rows than answers."""
    calls: Sequence[Sequence[Mapping[str, Any]]] = ()
    """Expected calls of tools beside each of `references`, as OpenAI writes them; empty where no row has any."""
    labels: Sequence[str] = ()
    """The closed set that the expected answers are from, where it is small; see `engine.metrics.labels`."""
    label_scores: Sequence[Sequence[float]] | None = None
    """Log-probability (nats) of each of `labels` as the answer to each prompt, summed over its tokens."""
    label_tokens: Sequence[int] = ()
    """Number of tokens of each of `labels`."""

    def has(self, needs: frozenset[Need]) -> bool:
        """True if all that a metric needs is there."""
        return all(getattr(self, need) is not None for need in needs)


class Lacking(Exception):  # noqa: N818 - a fact about the rows, which is reported
    """Raised by a metric that none of the rows has what it takes for; the message says what that is."""


def ratio(sums: Statistics) -> float:
    """The first sum divided by the second: the mean of a score, where each row gives it and a 1."""
    return sums[0] / sums[1]


@dataclass(frozen=True)
class Metric:
    """A number that steps or evaluations report under `name`.

    One that has `compute` can be named in `evaluation.metrics` and `checkpoints.best`; it is called with the results
    that it `needs` and returns the number. Another package brings one by the entry point group `ft.metrics`.

    One that has `rows` too gets confidence intervals and paired tests, and its value of a single row is shown.
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
    rows: Callable[[Results], Sequence[Statistics | None]] | None = None
    """Statistics of each row, all of one length; None for a row that lacks what the metric takes."""
    total: Callable[[Statistics], float] = ratio
    """The metric's value from the sums of statistics over rows."""
    details: Callable[[Results], Mapping[str, Any]] | None = None
    """Parts of the value and how it was made, as JSON has them: scores per class, a signature."""

    @classmethod
    def of_rows(
        cls,
        name: str,
        rows: Callable[[Results], Sequence[Statistics | None]],
        lacking: str,
        total: Callable[[Statistics], float] = ratio,
        needs: frozenset[Need] = frozenset({"answers"}),
        **shown: Any,
    ) -> "Metric":
        """A metric whose value is `total` of the rows' summed statistics, `shown` by its other fields.

        `lacking` ends "none of the rows has …", where not one has statistics.
        """

        def compute(results: Results) -> float:
            found = [row for row in rows(results) if row is not None]
            if not found:
                raise Lacking(f"none of the rows has {lacking}")
            return total(tuple(map(sum, zip(*found, strict=True))))

        return cls(name, needs=needs, compute=compute, rows=rows, total=total, **shown)

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


@dataclass(frozen=True)
class Scores:
    """Values of metrics by name, and for each that cannot be computed the reason."""

    values: Mapping[str, float] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)


def score(metrics: Sequence[Metric], results: Results) -> Scores:
    """Compute the metrics for which the results have what they need."""
    values: dict[str, float] = {}
    lacking: dict[str, str] = {}
    for metric in metrics:
        if metric.compute is None:
            continue
        if not results.has(metric.needs):
            lacking[metric.name] = "none of the rows has what it needs"
            continue
        try:
            values[metric.name] = metric.compute(results)
        except Lacking as reason:
            lacking[metric.name] = str(reason)
    return Scores(values, lacking)


def scored(metrics: Sequence[Metric], results: Results) -> dict[str, float]:
    """Compute those of the metrics for which the results have all that they need, by name."""
    return dict(score(metrics, results).values)
