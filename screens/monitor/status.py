"""Status of a run in the lines above and below its charts. Needs no terminal."""

from collections.abc import Sequence

from rich.text import Text

from engine.metrics.registry import EVAL_LOSS, describe
from engine.runs.directory.registry import name_in
from engine.runs.directory.state import Status
from screens import format as show
from screens.monitor.machine import bar
from screens.monitor.run_view import RunView
from screens.run_row import SIGNS

TITLES: dict[Status, str] = {
    "new": "waits to start",
    "running": "training",
    "crashed": "crashed (no exit message)",
}
"""Words of a status where its name alone does not say enough."""
"""A sign and words for each status: no state is shown by colour alone."""
GAP = "   "


def headline(view: RunView) -> Text:
    """` ● training  sql-helper`, and what is wrong with it."""
    status = view.state.status
    sign, words = SIGNS[status], TITLES.get(status, status)
    if view.alive and view.step is None and status == "running":
        words = view.phase.name if view.phase is not None else "starting"
    if view.gone:
        sign, words = "✗", "its folder is gone"
    line = Text(f" {sign} {words}", "bold")
    line.append(f"  {name_in(view.run_id)}", "not bold")
    if name_in(view.run_id) != view.run_id:
        line.append(f"  {view.run_id[:15]}", "not bold dim")
    if view.warnings:
        line.append(f"  ▲ {view.warnings} warning{'s' if view.warnings > 1 else ''}, under Events")
    return line


def progress(view: RunView, width: int) -> Text:
    """Progress and time left; the error, where it has failed."""
    state = view.state
    if state.error is not None:
        return fitted([Text(f"{state.error.kind}: {state.error.message}", "bold")], width)
    parts = []
    if state.total:
        done = state.step / state.total
        parts.append(
            Text(f"step {show.count(state.step)}/{show.count(state.total)} ")
            .append_text(bar(done))
            .append(f" {show.percent(done)}")
        )
    if view.step is not None:
        parts.append(Text(f"epoch {view.step.epoch:.2f}"))
        parts.append(Text(f"{show.count(view.step.tokens_per_s)} tok/s"))
    if view.alive and view.phase is not None and view.phase.name != "training":
        parts.insert(0, _phase(view))
    if view.job is not None and state.started and state.updated and not view.alive:
        parts.append(Text(f"took {show.duration(state.updated - state.started)}"))
    left = view.seconds_left()
    if view.seconds:
        parts.append(
            Text(f"{show.clock(view.seconds)} trained" + (f", {show.clock(left)} left" if left else ""))
        )
    if view.gone and not parts:
        parts.append(Text("[ and ] show other runs, m the machine", "dim"))
    elif not parts:
        parts.append(Text("nothing has happened yet", "dim"))
    return fitted(parts, width)


def results(view: RunView, width: int) -> Text:
    """Losses, the best evaluation and the last checkpoint; the hint, where it has failed."""
    state = view.state
    if state.error is not None and state.error.hint:
        return fitted([Text(state.error.hint)], width)
    if view.job is not None:
        return Text("")  # its page has them
    parts = []
    if state.loss is not None:
        parts.append(Text(f"loss {show.loss(state.loss)}"))
    if view.evals:
        parts.append(Text(f"validation loss {show.loss(view.evals[-1].loss)}"))
    if state.best is not None:
        metric = describe(state.best_metric)
        title = "" if metric.name == EVAL_LOSS else f"{metric.title} "
        parts.append(Text(f"◆ best {title}{show.score(metric, state.best)} @{state.best_step}"))
    if view.saved is not None:
        parts.append(Text(f"saved @{view.saved.step}"))
    if view.step is not None:
        parts.append(Text(f"lr {view.step.lr:.1e}"))
        parts.append(Text(f"grad {show.loss(view.step.grad_norm)}"))
    return fitted(parts, width)


def fitted(parts: Sequence[Text], width: int) -> Text:
    """As many of the parts side by side as there is room for; the first is cut rather than left out."""
    line = Text(" ", no_wrap=True, overflow="ellipsis")
    for index, part in enumerate(parts):
        gap = GAP if index else ""
        if index and len(line) + len(gap) + len(part) > width:
            continue
        line.append(gap).append_text(part)
    return line


def _phase(view: RunView) -> Text:
    phase = view.phase
    assert phase is not None
    note = f" · {phase.note}" if phase.note else ""
    share = ""
    if phase.done is not None and phase.total:
        counted = f"{show.count(phase.done)}/{show.count(phase.total)}"
        share = f" · {phase.done / phase.total:.0%}" if phase.name == "loading" else f" {counted}"  # of bytes
    return Text(phase.name, "bold").append(note + share, "not bold")
