"""The one next thing that Home proposes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from screens import format as words

if TYPE_CHECKING:
    from engine.runs.index.index import RunSummary


@dataclass(frozen=True)
class NextStep:
    """A suggestion, its reason, and the action of `enter`; `target` is a run's id where one is meant."""

    title: str
    why: str
    act: Literal["watch", "resume", "chat", "recipe", "starter"]
    target: str = ""


def next_step(runs: "Sequence[RunSummary]", recipe: Path | None) -> NextStep:
    """From the runs, newest first, and the train.yml of this folder, where there is one."""
    runs = [run for run in runs if run.kind == "train" and (run.config or run.state.status != "new")]
    live = [run for run in runs if run.alive]
    if live:
        return _live(live[0])
    if not runs:
        return _first(recipe)
    run = runs[0]
    state = run.state
    if run.damaged and state.status not in ("completed", "stopped"):
        return NextStep(f"Check {run.name}", f"Its folder is damaged: {run.damaged}", "watch", run.id)
    if state.status == "failed" and state.error is not None:
        return NextStep(f"See why {run.name} failed", words.one_line(state.error.message), "watch", run.id)
    if state.status == "completed":
        why = f"Training is done at step {state.step}. Compare its answers with the base model's."
        return NextStep(f"Chat with {run.name}", why, "chat", run.id)
    if state.step:
        of = f" of {state.total}" if state.total else ""
        word = "was stopped" if state.status == "stopped" else "crashed (no exit message)"
        return NextStep(f"Resume {run.name}", f"It {word} at step {state.step}{of}.", "resume", run.id)
    return NextStep(f"Check {run.name}", "It ended before its first step.", "watch", run.id)


def _live(run: "RunSummary") -> NextStep:
    state = run.state
    where = f"at step {state.step} of {state.total}" if state.total else state.phase or "starting"
    if state.status == "paused":
        return NextStep(f"Open {run.name}", f"It is paused, {where}.", "watch", run.id)
    loss = f", loss {words.loss(state.loss)}" if state.loss is not None else ""
    return NextStep(f"Watch {run.name} train", f"Now {where}{loss}.", "watch", run.id)


def _first(recipe: Path | None) -> NextStep:
    if recipe is not None:
        why = "This folder has a recipe. Review its plan, then start it there."
        return NextStep(f"Train {recipe.name}", why, "recipe")
    why = (
        "A small model learns to turn café orders into JSON: minutes on a CPU, no download. "
        "Review the recipe and its plan, then start it there."
    )
    return NextStep("Train your first model", why, "starter")
