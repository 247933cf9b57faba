"""Report of an evaluation: one HTML page that needs nothing else, no script and nothing from outside."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.evaluation.markup import heading, table, text
from engine.evaluation.plots import Gap, differences, histogram
from engine.evaluation.report_rows import MOST_ROWS, STYLE_OF_ROWS, row_list
from engine.evaluation.row_scores import OURS, THEIRS
from engine.metrics.base import Metric

STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:68em;margin:1.5em auto;padding:0 1em;color:#1c2530;background:#fff;
overflow-wrap:anywhere}
h1{font-size:1.5em;line-height:1.25}h2{font-size:1.15em;margin:1.8em 0 .4em}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.3em 0 .6em;min-width:min(100%,34em)}
th,td{text-align:left;vertical-align:top;padding:.35em 1.2em .35em 0;border-bottom:1px solid #d8dee6;
overflow-wrap:normal}
th{font-weight:600;overflow-wrap:break-word}.n{text-align:right;font-variant-numeric:tabular-nums}
td.n{white-space:nowrap}small{display:block;font-size:.8em}
figure{margin:1em 0;max-width:32em}svg{display:block;width:100%;height:auto}figcaption{font-size:.85em}
.good{color:#0b6b3a}.bad{color:#a3262a}.soft,small{color:#5b6775}
@media(max-width:36em){body{font-size:14px;padding:0 .7em}table{min-width:0}th,td{padding-right:.7em}
td.n small{white-space:normal}figure{font-size:16px}}
@media(prefers-color-scheme:dark){body{background:#14181d;color:#dde3ea}th,td{border-color:#333c47}
.good{color:#5fd08f}.bad{color:#ff8a8d}.soft,small{color:#9aa7b5}}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""For the browser: whatever the page holds, it loads nothing and runs nothing."""


def metric_of(name: str, line: Mapping[str, Any]) -> Metric:
    """The metric that a line of a result describes, to write its values."""
    return Metric(name, line["title"], line["format"], line["unit"], line["better"])


def page(body: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The page of a result, as `evaluation.json` has it, and its rows."""
    title = f"Evaluation of {body['model']}" + (f" against {body['against']}" if body["against"] else "")
    shown = "Rows" if len(rows) <= MOST_ROWS else f"The first {MOST_ROWS} of {len(rows)} rows"
    parts = [
        f"<h1>{text(title)}</h1>",
        f'<p class="soft">{text(_about(body))}</p>',
        _scores(body["metrics"], body),
        differences(_gaps(body["metrics"])),
        _lacking(body["lacking"]),
        *(_details(line, body) for line in body["metrics"].values()),
        row_list("Rows that differ most", body["differ_most"], body, opened=True),
        histogram(_row_gaps(body, rows), body.get("differ_by") or ""),
        _forgetting(body.get("forgetting"), body),
        _tasks(body.get("tasks"), body),
        _judge(body.get("judge"), body),
        row_list(shown, rows[:MOST_ROWS], body),
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"/>'
        f"<title>{text(title)}</title><style>{STYLE}{STYLE_OF_ROWS}</style></head><body>"
    )
    return head + "\n".join(filter(None, parts)) + "</body></html>\n"


def _about(body: Mapping[str, Any]) -> str:
    scored = f"Texts scored: {body['texts']}, prompts: {body['prompts']}." if body["texts"] else ""
    return f"Step {body['step']}. {scored}" if body["step"] else scored


def _scores(metrics: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """A line a metric: each model's value above its interval, and the difference above its own."""
    if not metrics:
        return ""
    against = body["against"]
    heads = ["metric", body["model"], *([against, "difference", "p"] if against else [])]
    lines = []
    for name, line in metrics.items():
        metric = metric_of(name, line)
        cells = [text(metric.title), _value(metric, line["value"], line["interval"])]
        if against:
            cells += [_value(metric, line["against"], line.get("against_interval")), *_gap(metric, line)]
        lines.append(cells)
    caption = '<p class="soft">Below each value: its 95 % interval.</p>'
    return table(heads, lines) + caption


def _value(metric: Metric, value: float | None, bounds: Sequence[float] | None) -> str:
    if value is None:
        return "–"
    return text(metric.written(value)) + (f"<small>{text(_bounds(metric, bounds))}</small>" if bounds else "")


def _gap(metric: Metric, line: Mapping[str, Any]) -> tuple[str, str]:
    """Cells of the difference and of its p."""
    found = line["difference"]
    if not found:
        return "–", "–"
    value, bounds = _signed(metric, found["value"]), _bounds(metric, (found["low"], found["high"]))
    shown = f'<span class="{_kind(metric, line)}">{text(value)}</span><small>{text(bounds)}</small>'
    return shown, text(f"{found['p']:.3f}" if found["p"] >= 0.001 else "< 0.001")


def _kind(metric: Metric, line: Mapping[str, Any]) -> str:
    """The colour of a difference whose interval leaves out 0."""
    found = line["difference"]
    if not found or metric.better is None or found["low"] <= 0 <= found["high"]:
        return "soft"
    return "good" if (found["value"] > 0) == (metric.better == "higher") else "bad"


def _bounds(metric: Metric, bounds: Sequence[float]) -> str:
    return f"{metric.written(bounds[0])} to {metric.written(bounds[1])}"


def _signed(metric: Metric, value: float) -> str:
    return ("+" if value > 0 else "") + metric.written(value)


def _gaps(metrics: Mapping[str, Any]) -> list[Gap]:
    """The differences of the metrics that were compared."""
    found = []
    for name, line in metrics.items():
        if gap := line["difference"]:
            metric = metric_of(name, line)
            written = f"{_signed(metric, gap['value'])} ({_bounds(metric, (gap['low'], gap['high']))})"
            kind = _kind(metric, line)
            found.append(Gap(metric.title, gap["value"], gap["low"], gap["high"], written, kind))
    return found


def _row_gaps(body: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Our score less the other's, of each row that has both."""
    scores = [row["scores"].get(body.get("differ_by")) for row in rows]
    return [each[OURS] - each[THEIRS] for each in scores if each and len(each) == 2]


def _lacking(lacking: Mapping[str, str]) -> str:
    lines = "".join(f"<li>{text(name)}: {text(why)}</li>" for name, why in lacking.items())
    return f"{heading('Not computed')}<ul>{lines}</ul>" if lines else ""


def _details(line: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """What a metric says beside its value, of both models, and its classes."""
    ours, theirs = line["details"], line.get("against_details") or {}
    plain = {key: value for key, value in ours.items() if key != "classes"}
    if not ours:
        return ""
    heads = ["", body["model"], *([body["against"]] if theirs else [])]
    lines = [
        [text(key), *(text(_short(side.get(key, "–"))) for side in ((ours, theirs) if theirs else (ours,)))]
        for key in plain
    ]
    return (
        heading(line["title"])
        + (table(heads, lines) if lines else "")
        + _classes(ours.get("classes"), theirs.get("classes"), body)
    )


def _classes(
    ours: Mapping[str, Mapping[str, float]] | None,
    theirs: Mapping[str, Mapping[str, float]] | None,
    body: Mapping[str, Any],
) -> str:
    if not ours:
        return ""
    names = ("precision", "recall", "f1", "rows")
    heads = ["class", "precision", "recall", "F1", "rows", *([f"F1 of {body['against']}"] if theirs else [])]
    lines = []
    for label, each in ours.items():
        other = [text(_short((theirs.get(label) or {}).get("f1", "–")))] if theirs else []
        lines.append([text(label), *(text(_short(each[name])) for name in names), *other])
    return table(heads, lines)


def _forgetting(found: Mapping[str, Any] | None, body: Mapping[str, Any]) -> str:
    if not found:
        return ""
    kinds = (
        [text(kind), text(each["rows"]), f"{each[OURS]:.1%}", f"{each[THEIRS]:.1%}"]
        for kind, each in found["kinds"].items()
    )
    return (
        f"{heading('Forgetting')}<p>General rows that were not the task, answers that contain the expected one. "
        f"{text(found['lost'])} are lost, {text(found['gained'])} gained.</p>"
        + _scores(found["metrics"], body)
        + table(["kind", "rows", body["model"], body["against"]], kinds)
        + row_list("Lost", found["lost_rows"], body, opened=True)
    )


def _tasks(found: Sequence[Mapping[str, Any]] | None, body: Mapping[str, Any]) -> str:
    if not found:
        return ""
    against = body["against"]
    lines = (
        [
            text(f"{each['task']} {each['metric']}"),
            _task(each),
            *([_task(each["against"])] if against else []),
        ]
        for each in found
    )
    return heading("Tasks of lm-eval") + table(
        ["task", body["model"], *([against] if against else [])], lines
    )


def _task(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return "–"
    error = "" if score["error"] is None else f"<small>± {score['error']:.4f}</small>"
    return f"{score['value']:.4f}{error}"


def _judge(found: Mapping[str, Any] | None, body: Mapping[str, Any]) -> str:
    if not found:
        return ""
    names = {OURS: f"{body['model']} is better", THEIRS: f"{body['against']} is better"}
    lines = ([text(names.get(name, name)), text(count)] for name, count in found["verdicts"].items())
    problem = f'<p class="bad">{text(found["problem"]["message"])}</p>' if found.get("problem") else ""
    return (
        heading(f"Judge: {found['model']}")
        + f"<p>{text(found['summary'])}</p>{problem}"
        + table(["verdict", "rows"], lines)
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
