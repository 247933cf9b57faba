"""A run in one line of text: its state, name, steps, loss and age."""

from typing import TYPE_CHECKING

from textual.content import Content

from engine.units import sparkline
from screens import format as words

if TYPE_CHECKING:
    from engine.runs.index.index import RunSummary

SIGNS = {
    "running": "●",
    "paused": "‖",
    "completed": "✓",
    "stopped": "■",
    "failed": "✗",
    "crashed": "✗",
    "new": "○",
    "damaged": "!",
}
"""A sign beside the word: the state is never shown by colour alone."""
SIGN_WIDTH = 11
STYLES = {
    "running": "$success",
    "paused": "$warning",
    "failed": "$error",
    "crashed": "$error",
    "damaged": "$error",
}


def status_of(run: "RunSummary") -> str:
    """The status as listed: damage that leaves nothing else to say comes first."""
    return "damaged" if run.damaged and run.state.status == "new" else run.state.status


def row(run: "RunSummary", width: int, now: float) -> str:
    """A run in one line of at most `width` columns: sign, state, name, step, loss, sparkline, age."""
    state = run.state
    status = status_of(run)
    sign = f"{SIGNS[status]} {status:<{SIGN_WIDTH - 2}}"
    where = f"{state.step}/{state.total}" if state.total else f"{state.step}" if state.step else words.MISSING
    age = words.ago(state.updated or run.created, now)
    tail = f" {where:>9}  {words.loss(state.loss):>6}"
    if width >= 68:
        tail += f"  {sparkline(run.losses, 14):<14}"
    if width >= 56:
        tail += f"  {age:>10}"
    room = max(width - len(sign) - len(tail) - 1, 4)
    name = run.name if len(run.name) <= room else run.name[: room - 1] + "…"
    return f"{sign} {name:<{room}}{tail}"


def coloured(line: str, run: "RunSummary") -> Content:
    """A row with the colour of its state, which also has a sign and a word."""
    style = STYLES.get(status_of(run))
    return Content(line).stylize(style, 0, SIGN_WIDTH) if style else Content(line)
