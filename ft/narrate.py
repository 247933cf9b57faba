"""Events in words: one line each, and a summary at the end."""

from collections.abc import Iterable

from engine.runs.events import (
    Acknowledged,
    Eval,
    Event,
    Failed,
    Finished,
    Memory,
    Phase,
    Sample,
    Saved,
    Started,
    Step,
    Warned,
)
from engine.runs.run import Run
from engine.runs.state import current


def line(event: Event) -> str:
    """One line for a person; empty for an event that says nothing new to one."""
    match event:
        case Started(resumed_from=None):
            return f"started {event.run} (pid {event.pid})"
        case Started():
            return f"resumed {event.run} from step {event.resumed_from} (pid {event.pid})"
        case Phase():
            share = f" {event.done}/{event.total}" if event.done is not None and event.total else ""
            return event.name + share + (f": {event.note}" if event.note else "")
        case Step():
            return (
                f"step {event.step}/{event.total}  loss {event.loss:.4f}  lr {event.lr:.2e}  "
                f"grad {event.grad_norm:.2f}  {event.tokens_per_s:.0f} tokens/s  {event.step_s:.2f} s"
            )
        case Eval():
            return f"eval at step {event.step}: {scores(event)}{'  (best so far)' if event.best else ''}"
        case Sample():
            return f"sample at step {event.step}: {one_line(event.prompt)} → {one_line(event.text)}"
        case Memory():
            now, peak = event.process_bytes or 0, event.process_peak_bytes or 0
            device = f", device {gigabytes(event.device_peak_bytes)}" if event.device_peak_bytes else ""
            return f"memory {gigabytes(now)}, at most {gigabytes(peak)}{device}"
        case Saved():
            return f"saved {event.kind} of step {event.step}: {event.path}"
        case Acknowledged():
            return f"{event.command}: understood"
        case Warned():
            return f"warning: {event.message}" + (f" {event.hint}" if event.hint else "")
        case Failed():
            return f"failed: {event.message}"
        case Finished():
            return f"{event.reason.replace('_', ' ')} at step {event.step}"
    return ""


def scores(event: Eval) -> str:
    """Loss, perplexity and the metrics of an evaluation; shares as per cent."""
    rest = [f"{name} {value:.1%}" for name, value in event.metrics.items() if name != "perplexity"]
    return "  ".join([f"loss {event.loss:.4f}", f"perplexity {event.perplexity:.2f}", *rest])


def summary(run: Run, finished: Finished) -> list[str]:
    """What a run has come to: scores before and after, where the result is, what to do next."""
    evals = [event for event in current(run.events()) if isinstance(event, Eval)]
    lines = _before_and_after(evals[0], evals[-1]) if len(evals) > 1 else []
    result = next((folder for folder in (run.adapter, run.model) if folder.is_dir()), None)
    if result is not None:
        lines.append(f"{result.name}: {result}")
    if finished.reason == "stopped":
        lines.append(f"Stopped at step {finished.step}. Go on with: ft train --resume {run.id}")
    if result is not None:
        lines.append(f"Talk to it with: ft chat {run.id}")
    return lines


def _before_and_after(first: Eval, last: Eval) -> list[str]:
    pairs = [("loss", f"{first.loss:.4f}", f"{last.loss:.4f}")]
    pairs += [
        (name, f"{first.metrics[name]:.1%}", f"{value:.1%}")
        for name, value in last.metrics.items()
        if name in first.metrics and name != "perplexity"
    ]
    when = f"step {first.step} → step {last.step}"
    return [f"held-out {name}: {before} → {after}  ({when})" for name, before, after in pairs]


def gigabytes(size: float) -> str:
    """`2.13 GB`, in powers of ten."""
    return f"{size / 1e9:.2f} GB"


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(seconds: float) -> str:
    """How long ago in one unit, as `21 min`."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def one_line(text: str, width: int = 100) -> str:
    """Text without line breaks or control characters, cut to `width`."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def sparkline(values: Iterable[float], width: int = 32) -> str:
    """The values as a row of blocks, the mean of neighbours where there are more than `width`."""
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    if not finite:
        return ""
    size = max(1, -(-len(finite) // width))
    means = [sum(part) / len(part) for part in (finite[i : i + size] for i in range(0, len(finite), size))]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[round((mean - low) / span * 7)] for mean in means)
