"""Orders of the list of runs."""

from collections.abc import Sequence

from engine.metrics.registry import EVAL_LOSS, describe
from engine.runs.index.summary import RunSummary

ORDERS = ("newest", "best", "loss", "name")


def ordered(runs: Sequence[RunSummary], by: str) -> list[RunSummary]:
    """The runs, which come newest first, in one of `ORDERS`: the best, the lowest loss or the first name on top.

    Runs whose best checkpoint goes by the same metric stand together, the best by it on top: values of two metrics
    cannot be compared. Validation loss comes first, then the others by name. Runs without a number come last.
    """
    if by == "name":
        return sorted(runs, key=lambda run: run.name.casefold())
    if by == "best":
        return sorted(runs, key=_by_best)
    return sorted(runs, key=lambda run: _last_unless_number(run.state.loss)) if by == "loss" else list(runs)


def order_text(by: str, runs: Sequence[RunSummary]) -> str:
    """The order in words, which say so where runs of one metric stand together."""
    metrics = {run.state.best_metric for run in runs if run.state.best is not None}
    return "best of each metric" if by == "best" and len(metrics) > 1 else by


def _by_best(run: RunSummary) -> tuple[bool, bool, str, float]:
    metric = describe(run.state.best_metric)
    missing, value = _last_unless_number(run.state.best)
    if missing:
        return True, False, "", 0.0
    upward = {"lower": value, "higher": -value, None: 0.0}[metric.better]
    return False, metric.name != EVAL_LOSS, metric.name, upward


def _last_unless_number(value: float | None) -> tuple[bool, float]:
    return (True, 0.0) if value is None or value != value else (False, value)
