"""Scores of an evaluation as text for a terminal, from what `evaluation.json` has."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.metrics.base import Metric
from engine.text import printable
from engine.units import one_line

WIDTH = 70
"""Columns of a prompt or an answer."""


def metric_of(name: str, line: Mapping[str, Any]) -> Metric:
    """The metric that a line of the result describes."""
    return Metric(name, line["title"], line["format"], line["unit"], line["better"])


def lines(body: Mapping[str, Any]) -> Iterator[str]:
    """All lines of a result: the table, parts of the metrics, rows that differ, what was lost, the judge's verdicts."""
    if body["metrics"]:
        yield from table(body["metrics"], body["model"], body["against"])
    yield from _details(body["metrics"])
    yield from _differing(body)
    if found := body.get("forgetting"):
        yield from _forgetting(found, body)
    if found := body.get("tasks"):
        yield from _tasks(found, body["against"])
    if found := body.get("judge"):
        yield from ("", f"Judge {printable(found['model'])}: {found['summary']}")
        if problem := found["problem"]:
            yield f"  {printable(problem['message'])}"


def table(metrics: Mapping[str, Any], model: str, against: str | None) -> Iterator[str]:
    """A line a metric: value and interval, and beside another model its value, the difference, its interval and p."""
    rows = [_scores(metric_of(name, line), line, against is not None) for name, line in metrics.items()]
    if against is not None:
        rows.insert(0, ["", printable(model), printable(against), "difference", "95 % interval", "p"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        yield "   ".join(cells).rstrip()


def _scores(metric: Metric, line: Mapping[str, Any], compared: bool) -> list[str]:
    value = metric.written(line["value"])
    if not compared:
        return [metric.title, value, _bounds(metric, line["interval"])]
    other = "–" if line["against"] is None else metric.written(line["against"])
    gap = line["difference"]
    if gap is None:
        return [metric.title, value, other, "–", "–", "–"]
    sign = "+" if gap["value"] > 0 else ""
    bounds = _bounds(metric, (gap["low"], gap["high"]))
    return [metric.title, value, other, sign + metric.written(gap["value"]), bounds, written_p(gap["p"])]


def written_p(p: float) -> str:
    """The p of a paired test, to three places."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _bounds(metric: Metric, bounds: Sequence[float] | None) -> str:
    return f"{metric.written(bounds[0])} to {metric.written(bounds[1])}" if bounds else ""


def _details(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Parts of the metrics; what several say alike is said once."""
    said: set[str] = set()
    for line in metrics.values():
        classes = line["details"].get("classes")
        text = [f"  {key}: {_short(value)}" for key, value in line["details"].items() if key != "classes"]
        text += list(_classes(classes)) if classes else []
        if text and (key := "\n".join(text)) not in said:
            said.add(key)
            yield from ("", line["title"], *map(printable, text))


def _classes(classes: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    width = max(*map(len, classes), len("class"))
    yield f"  {'class':<{width}}   precision   recall       F1   rows"
    for label, each in classes.items():
        scores = (
            f"{each['precision']:>9.1%}   {each['recall']:>6.1%}   {each['f1']:>6.1%}   {each['rows']:>4}"
        )
        yield f"  {label:<{width}}   {scores}"


def _differing(body: Mapping[str, Any]) -> Iterator[str]:
    if not body["differ_most"]:
        return
    yield from ("", f"Rows that differ most by {body['differ_by']}")
    for row in body["differ_most"]:
        yield from _row(row, body, body["differ_by"])


def _row(row: Mapping[str, Any], body: Mapping[str, Any], metric: str) -> Iterator[str]:
    names = {"model": body["model"], "against": body["against"]}
    width = max(len("expected"), *(len(str(name)) for name in names.values()))
    where = f"{row['where'].rpartition('/')[2]}  " if row["where"] else ""
    yield f"  {printable(where)}{printable(one_line(row['asked'], WIDTH))}"
    expected = row["reference"] or str(row.get("calls", ""))
    yield f"    {'expected':<{width}}   {'':>6}  {printable(one_line(expected, WIDTH))}"
    for side, name in names.items():
        score = row["scores"].get(metric, {}).get(side)
        answer = printable(one_line(row["answers"].get(side, ""), WIDTH))
        shown = "" if score is None else f"{score:.3g}"
        yield f"    {printable(str(name)):<{width}}   {shown:>6}  {answer}"


def _forgetting(found: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"General rows, not the task: {found['lost']} lost, {found['gained']} gained")
    yield from (f"  {line}" for line in table(found["metrics"], body["model"], body["against"]))
    for kind, each in found["kinds"].items():
        before_after = f"{each['against']:>6.1%} → {each['model']:>6.1%}"
        yield f"  {kind:<14} {each['rows']:>4} rows   {before_after}"
    for row in found["lost_rows"]:
        yield from _row(row, body, "contains")


def _tasks(found: Sequence[Mapping[str, Any]], against: str | None) -> Iterator[str]:
    yield from ("", "Tasks of lm-eval, without a chat template")
    for each in found:
        other = each["against"]
        beside = f"   {printable(str(against))} {_with_error(other)}" if other else ""
        yield f"  {printable(each['task'])}  {printable(each['metric'])}   {_with_error(each)}{beside}"


def _with_error(score: Mapping[str, Any]) -> str:
    return f"{score['value']:.4f}" + (f" ± {score['error']:.4f}" if score["error"] is not None else "")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
