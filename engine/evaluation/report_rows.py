"""Rows of a report: prompt and expected answer, and the two models' answers beside each other, with their scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.evaluation.markup import heading, text
from engine.evaluation.row_scores import OURS, THEIRS
from engine.units import one_line

MOST_ROWS = 500
"""Rows on the page; all are in rows.jsonl."""
LONGEST = 1500
"""Characters of a text on the page."""
TITLE = 90
"""Characters of a prompt in the line that opens its row."""
STYLE_OF_ROWS = """
details{border-top:1px solid #d8dee6;padding:.4em 0}summary{cursor:pointer}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,17em),1fr));gap:.2em 1.5em;margin:.3em 0 .8em}
.sides>div{border-left:3px solid #b9c3ce;padding-left:.7em;min-width:0}
.sides>.model{border-color:#4f86c6}.label{font-size:.85em;font-weight:600}
pre{white-space:pre-wrap;font:14px/1.45 ui-monospace,monospace;margin:.1em 0}
@media(prefers-color-scheme:dark){details{border-color:#333c47}}
"""


def row_list(
    title: str, rows: Sequence[Mapping[str, Any]], body: Mapping[str, Any], opened: bool = False
) -> str:
    """The rows under a heading, each of them folded unless `opened`; empty without rows."""
    if not rows:
        return ""
    verdicts = {(each["where"], each["prompt"]): each["verdict"] for each in _judged(body)}
    return heading(title) + "".join(_row(row, body, verdicts, opened) for row in rows)


def _judged(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (body.get("judge") or {}).get("rows") or ()
    return found


def _row(
    row: Mapping[str, Any],
    body: Mapping[str, Any],
    verdicts: Mapping[tuple[str, str], str],
    opened: bool,
) -> str:
    names = {OURS: body["model"]} | ({THEIRS: body["against"]} if body["against"] else {})
    where = str(row.get("where") or "").rpartition("/")[2]
    summary = f'{text(one_line(row["asked"], TITLE))} <span class="soft">{text(where)}</span>'
    prompt = _part("", "prompt", row["asked"], "")
    expected = _part("", "expected", _expected(row), "")
    answers = "".join(
        _part(side, name, row["answers"].get(side, ""), _scores_of(row["scores"], side))
        for side, name in names.items()
    )
    verdict = verdicts.get((row.get("where", ""), row.get("prompt", "")))
    said = f'<p class="soft">Judge: {text(names.get(verdict, verdict))}</p>' if verdict else ""
    attribute = ' open="open"' if opened else ""
    return (
        f"<details{attribute}><summary>{summary}</summary>"
        f'<div class="sides">{prompt}{expected}</div><div class="sides">{answers}</div>{said}</details>'
    )


def _part(kind: str, label: object, words: str, scores: str) -> str:
    shown = f"<small>{text(scores)}</small>" if scores else ""
    return (
        f'<div class="{kind}"><div class="label">{text(label)}</div>'
        f'<pre dir="auto">{text(_cut(words))}</pre>{shown}</div>'
    )


def _expected(row: Mapping[str, Any]) -> str:
    calls = "\n".join(str(call.get("function", call)) for call in row.get("calls", ()))
    return "\n".join(filter(None, (row["reference"], calls)))


def _scores_of(scores: Mapping[str, Mapping[str, float]], side: str) -> str:
    return ", ".join(f"{name} {each[side]:.3g}" for name, each in scores.items() if side in each)


def _cut(words: str) -> str:
    return words if len(words) <= LONGEST else words[:LONGEST] + " …"
