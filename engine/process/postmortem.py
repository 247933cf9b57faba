"""Postmortem of an engine process that ended without an exit message: the most likely cause, and what to do."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.hardware.memory import says_exhaustion
from engine.planning.limits import compared
from engine.process.hangs import Silence
from engine.runs.directory.events import Event, Memory, Phase, Step
from engine.runs.directory.run import Run
from engine.runs.directory.state import last_word
from engine.storage.regular_files import open_binary

MEMORY_EXIT = 75
"""Exit code of an engine that ran out of memory and wrote no `failed`: its parent decides what follows."""
UNLOADED = ("starting", "loading", "tokenising")
"""Phases before the first micro-batch."""
NEAR = 0.8
"""Share of the memory limit from which a kill is taken for one by the system."""
LOG_LINES = 12
LOG_BYTES = 2000
SEARCHED_BYTES = 256 << 10
"""Of an engine's log: behind the allocator's words come the stacks of all threads."""


@dataclass(frozen=True)
class Postmortem:
    """An engine that is gone."""

    message: str
    hint: str
    memory: bool
    """True if it probably ran out of it."""
    loaded: bool = True
    """True if it had its model and data; before that, a smaller micro-batch needs no less memory."""


@dataclass(frozen=True)
class Evidence:
    """Evidence that an engine's parent has besides the events: from before it started, and from its end."""

    kills_before: int | None = None
    """Number of processes that Linux had killed for memory."""
    log_before: int = 0
    """Bytes that the log had already."""
    peak_bytes: int | None = None
    """Most that the engine's process held."""
    hung: Silence | None = None
    """The silence for which the parent ended it."""


def diagnose(run: Run, code: int | None, since: int, witness: Evidence = Evidence()) -> Postmortem | None:
    """Diagnose why the engine that wrote the events from `since` ended with `code`; None where its last event says it.

    `code` is None where it is not known, negative where a signal ended it. A signal counts as out of memory only
    where something else says so: the system's count of kills, what was held, or the allocator in the log.
    """
    events = list(run.events(since=since, without=(Step,)))  # of which a long run has a million
    if last_word(events) is not None:
        return None
    if witness.hung is not None:
        stacks = f"What its threads were doing is at the end of {run.log}"
        return Postmortem(f"The engine hung: {witness.hung}.", f"{_resume_hint(run)}\n{stacks}", memory=False)
    plan, held = run.plan, _held(run, events, witness.peak_bytes)
    memory = code == MEMORY_EXIT
    if code is not None and code < 0:
        killed = _system_killed(witness.kills_before)
        memory = killed or _near_limit(run, events, held) or log_says_memory(run.log, witness.log_before)
    phase = next((event.name for event in reversed(events) if isinstance(event, Phase)), "starting")
    message = f"The engine {_ending(code)} {_place(phase, run.state().step)}"
    if memory and code != MEMORY_EXIT:
        message += ": out of memory"
    message += "."
    if memory and plan:
        message += f" {compared(held, plan.memory.peak_bytes, plan.limit_bytes)}"
    # Where memory ran out, the log ends with a traceback or the stacks of all threads, which help nobody.
    logged = f"\nWhat the engine wrote is in {run.log}" if memory else log_end(run.log)
    return Postmortem(message, f"{_resume_hint(run)}{logged}", memory, phase not in UNLOADED)


def oom_kills() -> int | None:
    """Number of processes that Linux has killed for memory since boot; None on systems that do not count them."""
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), None)


def log_end(path: Path) -> str:
    """The last lines of the engine's log, under a heading; empty where there are none."""
    try:
        with open_binary(path) as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            text = file.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.strip()][-LOG_LINES:]
    return "\nThe end of " + f"{path}:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""


def log_says_memory(path: Path, since: int = 0) -> bool:
    """Return True if a process, or its allocator, said that memory ran out in what its log got from byte `since` on."""
    try:
        with open_binary(path) as file:
            file.seek(max(since, path.stat().st_size - SEARCHED_BYTES))
            text = file.read(SEARCHED_BYTES).decode("utf-8", "replace")
    except OSError:
        return False
    return says_exhaustion(text)


def _ending(code: int | None) -> str:
    if code is None:
        return "crashed (no exit message)"
    if code == MEMORY_EXIT:
        return "ran out of memory"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _place(phase: str, step: int) -> str:
    if phase in UNLOADED:
        return f"while {phase}"
    return f"at step {step}" if phase == "training" else f"while {phase} at step {step}"


def _resume_hint(run: Run) -> str:
    if run.kind != "train":
        return run.how_to_resume
    has_checkpoint = run.checkpoints.is_dir() and any(run.checkpoints.glob("step-*"))
    return (
        f"Resume from the last checkpoint: ft train --resume {run.id}"
        if has_checkpoint
        else f"It had no checkpoint yet; start it again: ft train --resume {run.id}"
    )


def _system_killed(kills_before: int | None) -> bool:
    now = oom_kills()
    return kills_before is not None and now is not None and now > kills_before


def _last_reading(events: Sequence[Event]) -> Memory | None:
    return next((event for event in reversed(events) if isinstance(event, Memory)), None)


def _held(run: Run, events: Sequence[Event], peak_bytes: int | None) -> int | None:
    """Most bytes that the engine held where the plan counts them: on a CUDA GPU, or in its process."""
    plan, last = run.plan, _last_reading(events)
    if plan and plan.device == "cuda":
        return last.device_peak_bytes if last else None
    read = last.process_peak_bytes if last else None
    return max(read or 0, peak_bytes or 0) or None


def _near_limit(run: Run, events: Sequence[Event], held: int | None) -> bool:
    plan, last = run.plan, _last_reading(events)
    if plan is not None and held is not None and held >= NEAR * plan.limit_bytes:
        return True
    if last is not None:
        used, total = last.system_used_bytes, last.system_total_bytes
        return used is not None and total is not None and used >= 0.95 * total
    return held is None and plan is not None and plan.memory.peak_bytes >= NEAR * plan.limit_bytes
