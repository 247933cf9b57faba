"""Scores of an evaluation as a table: each metric with its interval, beside another model's, and the difference."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from engine.metrics.base import Metric
from engine.metrics.registry import describe


def scores_of(result: Mapping[str, Any]) -> list[Table | Text]:
    """A table of the metrics, with the other model's and the difference where there is one, and what is lacking."""
    against = result.get("against")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"{result.get('prompts')} prompts, {result.get('texts')} texts")
    table.add_column(str(result.get("model")), justify="right")
    if against:
        table.add_column(str(against), justify="right")
        table.add_column("difference, 95 %", justify="right")
    for name, line in (result.get("metrics") or {}).items():
        metric = _metric(name, line)
        cells = [Text(str(line.get("title") or name)), _value(metric, line["value"], line.get("interval"))]
        if against:
            other = line.get("against")
            cells.append(Text("–" if other is None else metric.written(other)))
            cells.append(_difference(metric, line.get("difference")))
        table.add_row(*cells)
    lacking = [Text(f"{name}: {reason}", "dim") for name, reason in (result.get("lacking") or {}).items()]
    return [table, *lacking]


def _metric(name: str, line: Mapping[str, Any]) -> Metric:
    """The metric as the result describes it: one of a Python file is known nowhere else."""
    if "format" not in line:
        return describe(name)
    return Metric(
        name, str(line.get("title") or ""), line["format"], line.get("unit", ""), line.get("better")
    )


def _value(metric: Metric, value: float, interval: Sequence[float] | None) -> Text:
    text = Text(metric.written(value))
    if interval:
        text.append(" ({} to {})".format(*map(metric.written, interval)), "dim")
    return text


def _difference(metric: Metric, found: Mapping[str, Any] | None) -> Text:
    if not found:
        return Text("–")
    sign = "+" if found["value"] > 0 else ""
    better = metric.better and found["value"] and (found["value"] > 0) == (metric.better == "higher")
    text = Text(f"{sign}{metric.written(found['value'])}", "bold" if found["low"] * found["high"] > 0 else "")
    text.append(f" ({metric.written(found['low'])} to {metric.written(found['high'])})", "dim")
    return text.append(" ✓" if better else "")
