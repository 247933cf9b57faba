"""Scores of an evaluation as a table: each metric with its interval, beside another model's, and the difference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from engine.metrics.base import Metric
from engine.metrics.registry import describe

WIDEST = 1000
"""Columns in which any table fits, to learn how wide it wants to be."""


@dataclass(frozen=True)
class ScoresTable:
    """The metrics of an evaluation, from its `evaluation.json`. Intervals go below their values where it is narrow."""

    result: Mapping[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        beside = self.table(" ")
        wanted = console.measure(beside, options=options.update_width(WIDEST)).maximum
        yield beside if wanted <= options.max_width else self.table("\n")

    def table(self, before: str) -> Table:
        """The table, with `before` between a value and its interval."""
        result, against = self.result, self.result.get("against")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("", min_width=12)
        table.add_column(str(result.get("model")), justify="right")
        if against:
            table.add_column(str(against), justify="right")
            table.add_column("difference", justify="right")
        for name, line in (result.get("metrics") or {}).items():
            metric = _metric(name, line)
            cells = [Text(str(line.get("title") or name))]
            cells.append(_value(metric, line["value"], line.get("interval"), before))
            if against:
                other = line.get("against")
                cells.append(Text("–" if other is None else metric.written(other)))
                cells.append(_difference(metric, line.get("difference"), before))
            table.add_row(*cells)
        return table


def scores_of(result: Mapping[str, Any]) -> list[RenderableType]:
    """What was asked, a table of the metrics with the other model's and the difference, and what is lacking."""
    asked = Text(f"{result.get('prompts')} prompts, {result.get('texts')} texts", "dim")
    lacking = [Text(f"{name}: {reason}", "dim") for name, reason in (result.get("lacking") or {}).items()]
    return [asked, ScoresTable(result), *lacking]


def _metric(name: str, line: Mapping[str, Any]) -> Metric:
    """The metric as the result describes it: one of a Python file is known nowhere else."""
    if "format" not in line:
        return describe(name)
    return Metric(
        name, str(line.get("title") or ""), line["format"], line.get("unit", ""), line.get("better")
    )


def _value(metric: Metric, value: float, interval: Sequence[float] | None, before: str) -> Text:
    text = Text(metric.written(value))
    if interval:
        text.append("{}({} to {})".format(before, *map(metric.written, interval)), "dim")
    return text


def _difference(metric: Metric, found: Mapping[str, Any] | None, before: str) -> Text:
    """The difference; bold, and with a sign at a better one, where the interval has no zero in it."""
    if not found:
        return Text("–")
    sure = found["low"] * found["high"] > 0
    better = metric.better and (found["value"] > 0) == (metric.better == "higher")
    text = Text("✓ " if sure and better else "")
    text.append(
        f"{'+' if found['value'] > 0 else ''}{metric.written(found['value'])}", "bold" if sure else ""
    )
    return text.append(f"{before}({metric.written(found['low'])} to {metric.written(found['high'])})", "dim")
