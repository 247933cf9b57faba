"""Scores of a model, beside another's where there is one: values, intervals, differences, and scores of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.evaluation.intervals import Difference, difference, interval
from engine.metrics.base import Lacking, Metric, Results, Statistics, score
from engine.metrics.evaluation.eval_loss import METRIC as LOSS
from engine.metrics.evaluation.perplexity import METRIC as PERPLEXITY

OF_TOKENS = (LOSS.name, PERPLEXITY.name)
"""Metrics whose rows are texts with trained tokens; those of all others are prompts."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One metric: its value, that of the other model, and how they differ. What there is not is None."""

    metric: Metric
    value: float
    interval: Interval | None = None
    other: float | None = None
    other_interval: Interval | None = None
    difference: Difference | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    other_details: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[float | None, ...] = ()
    """Value of each row alone."""
    other_scores: tuple[float | None, ...] = ()

    @property
    def of_tokens(self) -> bool:
        """True if the rows of `scores` are texts with trained tokens, not prompts."""
        return self.metric.name in OF_TOKENS

    def as_json(self) -> dict[str, Any]:
        """The line without the rows' scores."""
        metric = self.metric
        return {
            "title": metric.title,
            "format": metric.format,
            "unit": metric.unit,
            "better": metric.better,
            "value": self.value,
            "interval": self.interval,
            "against": self.other,
            "against_interval": self.other_interval,
            "difference": asdict(self.difference) if self.difference else None,
            "details": dict(self.details),
            "against_details": dict(self.other_details),
        }


@dataclass(frozen=True)
class Comparison:
    """Lines of all metrics that could be computed, and for each of the others the reason."""

    lines: tuple[Line, ...]
    lacking: Mapping[str, str]


def compare(
    metrics: Sequence[Metric], ours: Results, theirs: Results | None, seed: int, same_tokens: bool = True
) -> Comparison:
    """The metrics of one model's results, and of another's on the same prompts.

    Loss and perplexity come first, and always; they are compared where the two have the `same_tokens`.
    """
    named = [metric for metric in metrics if metric.name not in OF_TOKENS]
    scores, others = score(named, ours), score(named, theirs) if theirs else None
    lines = []
    if ours.loss is not None:
        loss = LOSS, ours.loss, theirs.loss if theirs and same_tokens else None
        assert PERPLEXITY.compute is not None
        other = PERPLEXITY.compute(theirs) if theirs and same_tokens and theirs.loss is not None else None
        for metric, value, compared in (loss, (PERPLEXITY, PERPLEXITY.compute(ours), other)):
            lines.append(_line(metric, value, compared, ours, theirs if same_tokens else None, seed))
    for metric in named:
        if metric.name in scores.values:
            value = scores.values[metric.name]
            other = others.values.get(metric.name) if others else None
            lines.append(_line(metric, value, other, ours, theirs, seed))
    return Comparison(tuple(lines), scores.lacking)


def _line(
    metric: Metric, value: float, other: float | None, ours: Results, theirs: Results | None, seed: int
) -> Line:
    rows, other_rows = _rows(metric, ours), _rows(metric, theirs) if theirs else []
    paired = bool(rows) and len(rows) == len(other_rows)
    return Line(
        metric=metric,
        value=value,
        interval=interval(rows, metric.total, seed) if rows else None,
        other=other,
        other_interval=interval(other_rows, metric.total, seed) if other_rows else None,
        difference=difference(rows, other_rows, metric.total, seed) if paired else None,
        details=metric.details(ours) if metric.details else {},
        other_details=metric.details(theirs) if metric.details and theirs and other is not None else {},
        scores=_alone(metric, rows),
        other_scores=_alone(metric, other_rows),
    )


def _rows(metric: Metric, results: Results) -> Sequence[Statistics | None]:
    """Statistics of the rows; none for a metric without them."""
    if metric.rows is None:
        return ()
    try:
        return metric.rows(results)
    except Lacking:
        return ()


def _alone(metric: Metric, rows: Sequence[Statistics | None]) -> tuple[float | None, ...]:
    return tuple(None if row is None else metric.total(row) for row in rows)
