"""Gates: an evaluation fails where a score is below a limit, or worse than an earlier evaluation's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import ConfigError
from engine.metrics.base import Metric
from engine.metrics.registry import describe, known

CLOSE = 1e-6
"""Share of a value by which a score may be off and still count as the same."""


@dataclass(frozen=True)
class Limit:
    """A score that is to be reached: at least, or at most where less is better; `percent` if written with %."""

    metric: str
    value: float
    percent: bool = False

    @staticmethod
    def parse(text: str) -> "Limit":
        """Read `exact_match=0.8` or `exact_match=80%`. Raises ConfigError."""
        name, equals, value = text.partition("=")
        percent = value.endswith("%")
        try:
            number = float(value.removesuffix("%")) / (100 if percent else 1)
        except ValueError:
            number = math.nan
        if not (name and equals and math.isfinite(number)):
            raise ConfigError(f"--fail-under {text}: expected METRIC=NUMBER.", "As in exact_match=0.8")
        return Limit(name.strip(), number, percent)

    def check(self, metrics: Mapping[str, Metric]) -> None:
        """Raise ConfigError where the metric is not computed, has no direction, or is not measured in such numbers."""
        if self.metric not in metrics:
            raise ConfigError(
                f"--fail-under {self.metric}: that metric is not computed.",
                f"Add it: --metrics {self.metric}"
                if self.metric in known()
                else f"There is none of that name; computed are {', '.join(metrics)}.",
            )
        metric = metrics[self.metric]
        if metric.better is None:
            raise ConfigError(
                f"--fail-under {self.metric}: of this metric, neither more nor less is better.",
                "Take another metric.",
            )
        share = metric.format == "percent"
        if share and not 0 <= self.value <= 1:
            raise ConfigError(
                f"--fail-under {self.metric}={self.value:g}: it is a share, from 0 to 1.",
                f"Write {self.value:g}% for a percentage." if 1 < self.value <= 100 else "As in 0.8, or 80%.",
            )
        if self.percent and not share:
            raise ConfigError(
                f"--fail-under {self.metric}={100 * self.value:g}%: it is not a percentage.",
                f"Without the sign: {self.metric}={100 * self.value:g}",
            )


def below(limits: Sequence[Limit], scores: Mapping[str, float], metrics: Mapping[str, Metric]) -> list[str]:
    """A sentence for each limit that is not reached; a score that could not be computed does not reach it."""
    found = []
    for limit in limits:
        metric = metrics.get(limit.metric) or describe(limit.metric)
        value = scores.get(limit.metric)
        wanted = metric.written(limit.value)
        if value is None:
            found.append(f"{metric.title} could not be computed; at least {wanted} was asked for.")
        elif _worse(metric, value, limit.value):
            word = "at most" if metric.better == "lower" else "at least"
            found.append(f"{metric.title} is {metric.written(value)}; {word} {wanted} was asked for.")
    return found


def worse_than(
    earlier: Mapping[str, float], name: str, scores: Mapping[str, float], metrics: Mapping[str, Metric]
) -> list[str]:
    """A sentence for each score that is worse than the earlier evaluation's; raises ConfigError without a common one.

    Perplexity says what the loss says, and is left out.
    """
    common = [
        key
        for key in scores
        if key in earlier and key != "perplexity" and (metrics.get(key) or describe(key)).better
    ]
    if not common:
        raise ConfigError(
            f"{name} was not scored by any of these metrics.", f"It has: {', '.join(earlier) or 'none'}."
        )
    found = []
    for key in common:
        metric = metrics.get(key) or describe(key)
        if _worse(metric, scores[key], earlier[key]):
            found.append(
                f"{metric.title} is {metric.written(scores[key])}, worse than {metric.written(earlier[key])} of {name}."
            )
    return found


def recorded(result: Mapping[str, Any] | None, scores: Mapping[str, float]) -> Mapping[str, float]:
    """The scores of an earlier evaluation: of its result where it has one, else of its last event."""
    return {key: line["value"] for key, line in result["metrics"].items()} if result else scores


def _worse(metric: Metric, value: float, than: float) -> bool:
    """True for a value that is worse beyond rounding; NaN is worse than any number."""
    if value != value:
        return True
    if abs(value - than) <= CLOSE * max(abs(value), abs(than)):
        return False
    return metric.improves(than, value)
