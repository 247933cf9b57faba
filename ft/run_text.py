"""A run's outcome in words, and numbers for people; one event in words is in `runs/directory/event_text.py`."""

from engine.runs.directory.event_text import gigabytes as gigabytes
from engine.runs.directory.event_text import line as line
from engine.runs.directory.event_text import one_line as one_line
from engine.runs.directory.event_text import scores as scores
from engine.runs.directory.events import Eval, Finished
from engine.runs.directory.result import Result
from engine.runs.directory.run import Run


def summary(run: Run, finished: Finished) -> list[str]:
    """What a run has come to: scores before and after, where the result is, what to do next."""
    evals, result = run.evaluations(), run.result()
    of_result = [event for event in evals if result is not None and event.step == result.step]
    lines = _before_and_after(evals[0], (of_result or evals)[-1]) if len(evals) > 1 else []
    if result is not None:
        which = f"  ({result.which})" if result.which else ""
        lines += [f"{result.folder.name}: {result.folder}{which}", *better(result)]
    if finished.reason == "stopped":
        lines.append(f"Stopped at step {finished.step}. Go on with: ft train --resume {run.id}")
    if result is not None:
        lines.append(f"Talk to it with: ft chat {run.id}")
    return lines


def better(result: Result) -> list[str]:
    """One line on an evaluation that was better than the result; none where there was none."""
    other = result.better
    if other is None:
        return []
    loss = f"validation loss {other.loss:.4f}"
    if other.step == 0:
        return [f"Before training it was better: {loss}."]
    where = f": {other.folder}" if other.folder else ""
    return [f"Step {other.step} was better ({loss}){where}. checkpoints.publish: best makes it the result."]


def _before_and_after(first: Eval, last: Eval) -> list[str]:
    pairs = [("loss", f"{first.loss:.4f}", f"{last.loss:.4f}")]
    pairs += [
        (name, f"{first.metrics[name]:.1%}", f"{value:.1%}")
        for name, value in last.metrics.items()
        if name in first.metrics and name != "perplexity"
    ]
    when = f"step {first.step} → step {last.step}"
    return [f"validation {name}: {before} → {after}  ({when})" for name, before, after in pairs]


def age(seconds: float) -> str:
    """How long ago in one unit, as `21 min`."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
