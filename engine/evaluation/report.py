"""Report of an evaluation: one HTML page that needs nothing else, no script and nothing from outside.

Whatever comes from rows and models is escaped: an answer is text, never markup.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from engine.evaluation.plots import differences, histogram
from engine.evaluation.row_scores import OURS, THEIRS
from engine.metrics.base import Metric

MOST_ROWS = 500
"""Rows on the page; all are in rows.jsonl."""
LONGEST = 1500
"""Characters of a text on the page."""
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#1c2530;background:#fff}
table{border-collapse:collapse;margin:.5em 0 1.5em;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3em .7em;border-bottom:1px solid #d8dee6}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.4 ui-monospace,monospace;margin:0}
.good{color:#0b6b3a}.bad{color:#a3262a}.soft{color:#5b6775}
@media(prefers-color-scheme:dark){body{background:#14181d;color:#dde3ea}th,td{border-color:#333c47}
.good{color:#5fd08f}.bad{color:#ff8a8d}.soft{color:#94a1b0}}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""For the browser: whatever the page holds, it loads nothing and runs nothing."""


def metric_of(name: str, line: Mapping[str, Any]) -> Metric:
    """The metric that a line of a result describes, to write its values."""
    return Metric(name, line["title"], line["format"], line["unit"], line["better"])


def page(body: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The page of a result, as `evaluation.json` has it, and its rows."""
    title = f"Evaluation of {body['model']}" + (f" against {body['against']}" if body["against"] else "")
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=soft>Step {body['step']}; {body['texts']} texts scored, {body['prompts']} prompts.</p>",
        _table(body["metrics"], body["model"], body["against"]),
        differences(_drawn(body["metrics"])),
        _lacking(body["lacking"]),
        *_details(body["metrics"]),
        _forgetting(body.get("forgetting"), body),
        _tasks(body.get("tasks"), body),
        _judge(body.get("judge")),
        *_rows("Rows that differ most", body["differ_most"], body),
        histogram(_gaps(body, rows), body.get("differ_by") or ""),
        *_rows(_title_of_all(rows), rows[:MOST_ROWS], body),
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
    )
    return head + "\n".join(part for part in parts if part) + "</body></html>\n"


def _table(metrics: Mapping[str, Any], model: str, against: str | None) -> str:
    heads = ["metric", model, "95 %"] + ([against, "difference", "95 %", "p"] if against else [])
    body = []
    for name, line in metrics.items():
        metric = metric_of(name, line)
        cells = [metric.written(line["value"]), _bounds(metric, line["interval"])]
        if against:
            found = line["difference"]
            cells.append("–" if line["against"] is None else metric.written(line["against"]))
            cells += (
                [
                    _signed(metric, found["value"]),
                    _bounds(metric, (found["low"], found["high"])),
                    _p(found["p"]),
                ]
                if found
                else ["–", "–", "–"]
            )
        marked = "".join(
            f"<td class='n {_class(metric, line) if at == 3 else ''}'>{escape(cell)}</td>"
            for at, cell in enumerate(cells)
        )
        body.append(f"<tr><td>{escape(metric.title)}</td>{marked}</tr>")
    head = "".join(f"<th{' class=n' if at else ''}>{escape(str(each))}</th>" for at, each in enumerate(heads))
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _class(metric: Metric, line: Mapping[str, Any]) -> str:
    """The colour of a difference whose interval leaves out 0."""
    found = line["difference"]
    if not found or metric.better is None or found["low"] <= 0 <= found["high"]:
        return "soft"
    return "good" if (found["value"] > 0) == (metric.better == "higher") else "bad"


def _bounds(metric: Metric, bounds: Sequence[float] | None) -> str:
    return "–" if bounds is None else f"{metric.written(bounds[0])} to {metric.written(bounds[1])}"


def _signed(metric: Metric, value: float) -> str:
    return ("+" if value > 0 else "") + metric.written(value)


def _drawn(metrics: Mapping[str, Any]) -> list[tuple[str, float, float, float, str]]:
    """Title, difference, its bounds and its class, of each metric that was compared."""
    found = []
    for name, line in metrics.items():
        if gap := line["difference"]:
            kind = _class(metric_of(name, line), line)
            found.append((line["title"], gap["value"], gap["low"], gap["high"], kind))
    return found


def _gaps(body: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Our score less the other's, of each row that has both."""
    scores = [row["scores"].get(body.get("differ_by")) for row in rows]
    return [each[OURS] - each[THEIRS] for each in scores if each and len(each) == 2]


def _lacking(lacking: Mapping[str, str]) -> str:
    lines = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in lacking.items())
    return f"<h2>Not computed</h2><ul>{lines}</ul>" if lines else ""


def _details(metrics: Mapping[str, Any]) -> list[str]:
    found = []
    for line in metrics.values():
        plain = {key: value for key, value in line["details"].items() if key != "classes"}
        lines = "".join(
            f"<tr><td>{escape(str(key))}</td><td>{escape(_short(value))}</td></tr>"
            for key, value in plain.items()
        )
        classes = line["details"].get("classes")
        if lines or classes:
            found.append(f"<h2>{escape(line['title'])}</h2><table>{lines}</table>" + _classes(classes))
    return found


def _classes(classes: Mapping[str, Mapping[str, float]] | None) -> str:
    if not classes:
        return ""
    names = ("precision", "recall", "f1", "rows")
    lines = "".join(
        f"<tr><td>{escape(label)}</td>"
        + "".join(f"<td class=n>{escape(_short(each[name]))}</td>" for name in names)
        + "</tr>"
        for label, each in classes.items()
    )
    return f"<table><tr><th>class</th>{''.join(f'<th class=n>{name}</th>' for name in names)}</tr>{lines}</table>"


def _forgetting(found: Mapping[str, Any] | None, body: Mapping[str, Any]) -> str:
    if not found:
        return ""
    lines = "".join(
        f"<tr><td>{escape(kind)}</td><td class=n>{each['rows']}</td>"
        f"<td class=n>{each[OURS]:.1%}</td><td class=n>{each[THEIRS]:.1%}</td></tr>"
        for kind, each in found["kinds"].items()
    )
    return (
        "<h2>Forgetting</h2><p>General rows that were not the task, answers that contain the expected one. "
        f"{found['lost']} are lost, {found['gained']} gained.</p>"
        + _table(found["metrics"], body["model"], body["against"])
        + f"<table><tr><th>kind</th><th class=n>rows</th><th class=n>{escape(body['model'])}</th>"
        f"<th class=n>{escape(str(body['against']))}</th></tr>{lines}</table>"
        + "".join(_rows("Lost", found["lost_rows"], body))
    )


def _tasks(found: Sequence[Mapping[str, Any]] | None, body: Mapping[str, Any]) -> str:
    if not found:
        return ""
    lines = "".join(
        f"<tr><td>{escape(each['task'])}</td><td>{escape(each['metric'])}</td><td class=n>{each['value']:.4f}</td>"
        f"<td class=n>{'' if each['against'] is None else format(each['against']['value'], '.4f')}</td></tr>"
        for each in found
    )
    heads = ("task", "metric", body["model"], body["against"] or "")
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    return f"<h2>Tasks of lm-eval</h2><table><tr>{head}</tr>{lines}</table>"


def _judge(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    counts = ", ".join(f"{escape(str(name))} {value}" for name, value in found["verdicts"].items())
    return f"<h2>Judge: {escape(found['model'])}</h2><p>{counts}. {escape(found['summary'])}</p>"


def _title_of_all(rows: Sequence[object]) -> str:
    return "Rows" if len(rows) <= MOST_ROWS else f"The first {MOST_ROWS} of {len(rows)} rows"


def _rows(title: str, rows: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> list[str]:
    if not rows:
        return []
    sides = [(OURS, body["model"])] + ([(THEIRS, body["against"])] if body["against"] else [])
    heads = ["prompt", "expected", *(name for _, name in sides), "scores"]
    lines = [
        "<tr>"
        + "".join(
            f"<td><pre>{escape(_cut(text))}</pre></td>"
            for text in (row["asked"], _expected(row), *(row["answers"].get(side, "") for side, _ in sides))
        )
        + f"<td><pre>{escape(_scores(row['scores']))}</pre></td></tr>"
        for row in rows
    ]
    head = "".join(f"<th>{escape(str(each))}</th>" for each in heads)
    return [f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{''.join(lines)}</table>"]


def _expected(row: Mapping[str, Any]) -> str:
    calls = "\n".join(str(call.get("function", call)) for call in row.get("calls", ()))
    return "\n".join(filter(None, (row["reference"], calls)))


def _scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    return "\n".join(
        f"{name} {' / '.join(f'{x:.3g}' for x in each.values())}" for name, each in scores.items()
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
