"""Summary of a finished run; the text of one event is in `runs/directory/event_text.py`."""

from engine.metrics.registry import EVAL_LOSS, describe, written
from engine.runs.directory.event_text import line as line
from engine.runs.directory.event_text import scores as scores
from engine.runs.directory.events import Eval, Finished
from engine.runs.directory.result import Result
from engine.runs.directory.run import Run


def summary(run: Run, finished: Finished) -> list[str]:
    """Lines on a run that has ended: scores before and after, where the result is, what to do next."""
    evals, result = run.evaluations(), run.result()
    of_result = [event for event in evals if result is not None and event.step == result.step]
    lines = _before_and_after(evals[0], (of_result or evals)[-1]) if len(evals) > 1 else []
    if result is not None:
        which = f"  ({result.which})" if result.which else ""
        lines += [f"{result.folder.name}: {result.folder}{which}", *better(result)]
    if finished.reason == "stopped":
        where = f" at step {finished.step}" if run.kind == "train" else ""
        lines.append(f"Stopped{where}. {run.how_to_resume}")
    if result is not None:
        lines.append(f"Talk to it with: ft chat {run.id}")
    return lines


def better(result: Result) -> list[str]:
    """One line on an evaluation that was better than the result; none where there was none."""
    other = result.better
    if other is None:
        return []
    score = written(other.metric, other.loss)
    if other.step == 0:
        return [f"Before training it was better: {score}."]
    where = f": {other.folder}" if other.folder else ""
    return [f"Step {other.step} was better ({score}){where}. checkpoints.publish: best makes it the result."]


def _before_and_after(first: Eval, last: Eval) -> list[str]:
    when = f"step {first.step} → step {last.step}"
    changes = []
    for name, after in last.scores.items():
        if name in first.scores and name != "perplexity":  # which the loss says already
            metric = describe(name)
            title = metric.title if name == EVAL_LOSS else f"validation {metric.title}"
            changes.append(
                f"{title}: {metric.written(first.scores[name])} → {metric.written(after)}  ({when})"
            )
    return changes


def age(seconds: float) -> str:
    """Age in one unit, as `21 min`."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
