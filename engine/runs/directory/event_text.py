"""Events as text for people: one line each."""

from engine.metrics.registry import written
from engine.runs.directory.events import (
    Acknowledged,
    Eval,
    Event,
    Failed,
    Finished,
    Memory,
    Phase,
    Proved,
    Sample,
    Saved,
    Started,
    Step,
    Warned,
)
from engine.units import one_line, size


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
                + "".join(f"  {written(name, value)}" for name, value in event.metrics.items())
            )
        case Eval():
            return (
                f"evaluation at step {event.step}: {scores(event)}{'  (best so far)' if event.best else ''}"
            )
        case Sample():
            return f"sample at step {event.step}: {one_line(event.prompt)} → {one_line(event.text)}"
        case Memory():
            now, peak = event.process_bytes or 0, event.process_peak_bytes or 0
            device = f", device {size(event.device_peak_bytes)}" if event.device_peak_bytes else ""
            return f"memory {size(now)}, at most {size(peak)}{device}"
        case Saved():
            return f"saved {event.kind} of step {event.step}: {event.path}"
        case Proved():
            return event.report
        case Acknowledged():
            return f"{event.command}: understood"
        case Warned():
            return f"warning: {event.message}" + (f" {event.hint}" if event.hint else "")
        case Failed():
            return f"failed: {event.message}"
        case Finished():
            return event.reason.replace("_", " ") + (f" at step {event.step}" if event.step else "")
    return ""


def scores(event: Eval) -> str:
    """The metrics of an evaluation with their values, the validation loss first."""
    return "  ".join(written(name, value) for name, value in event.scores.items())
