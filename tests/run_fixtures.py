"""Run directories written by hand: what an engine would have left, without one."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import paths
from engine.config.load import load_text
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Eval, Event, Finished, Saved, Started, Step, encode
from engine.runs.directory.run import Run

STARTED = 1_780_000_000.0
"""Unix seconds of every hand-written run's start."""
RECIPE = """\
# a recipe with a comment
name: {name}
model:
  base: starter    # the model
data:
  train: starter
adapter:
  rank: {rank}
training:
  epochs: 2
  learning_rate: {lr}
"""


def step(number: int, loss: float, total: int = 100, lr: float = 1e-3, t: float | None = None) -> Step:
    """A step at 100 tokens a second, one second after the one before."""
    return Step(
        t=STARTED + number if t is None else t,
        step=number,
        total=total,
        epoch=number / 50,
        loss=loss,
        lr=lr,
        grad_norm=1.0,
        tokens=120,
        trained_tokens=60,
        tokens_per_s=100.0,
        step_s=1.0,
    )


def make_run(
    run_id: str,
    steps: int = 20,
    lr: float = 1e-3,
    rank: int = 16,
    start_loss: float = 3.0,
    end: Event | str | None = "completed",
    provenance: dict[str, Any] | None = None,
    exact: Sequence[float] = (),
) -> Run:
    """A run of so many steps whose loss falls from `start_loss`; `end` is how it ended, None for not at all.

    With `exact`, it evaluates exact_match too, which these are, one every ten steps; the highest one is the best.
    """
    folder = paths.runs() / run_id
    folder.mkdir(parents=True)
    source = RECIPE.format(name=run_id[16:], lr=lr, rank=rank)
    (folder / "source.yml").write_text(source)
    (folder / "train.yml").write_text(load_text(source, Path("/recipes/train.yml")).resolved())
    (folder / "checkpoints").mkdir()
    (folder / "control").mkdir()
    (folder / "lock").touch()
    facts = {
        "id": run_id,
        "created": STARTED,
        "data": {"examples": 280, "fingerprint": "d" * 64},
        "model": {"name": "starter", "fingerprint": "m" * 64},
        "versions": {"torch": "2.13.0", "peft": "0.21.2"},
        "python": "3.11.7",
    }
    (folder / "provenance.json").write_text(json.dumps(facts | (provenance or {})))
    events = _events(run_id, steps, start_loss, lr, end, exact)
    (folder / "events.jsonl").write_bytes(b"".join(map(encode, events)))
    return Run(folder)


def _events(
    run_id: str, steps: int, start_loss: float, lr: float, end: Event | str | None, exact: Sequence[float]
) -> list[Event]:
    events: list[Event] = [Started(t=STARTED, run=run_id, pid=1)]
    for number in range(1, steps + 1):
        loss = start_loss * (0.3 + 0.7 * math.exp(-4 * number / max(steps, 1))) + 0.05 * math.sin(
            number * 2.1
        )
        events.append(step(number, loss, max(steps, 1), lr))
        if number % 10 == 0:
            score = loss + 0.1
            found = Eval(t=STARTED + number, step=number, loss=score, perplexity=math.exp(score), best=True)
            if exact:
                *before, value = exact[: number // 10]
                best, metrics = value > max(before, default=-1.0), {"exact_match": value}
                found = replace(found, metrics=metrics, best=best, best_by="exact_match")
            events.append(found)
            path = f"checkpoints/step-{number:06}"
            events.append(Saved(t=STARTED + number, step=number, path=path, kind="checkpoint"))
    if end == "completed":
        end = Finished(t=STARTED + steps + 1, reason="completed", step=steps)
    return [*events, end] if isinstance(end, Event) else events


def evaluated(run: Run, value: float, data: str | None, fingerprint: str = "f" * 64) -> Run:
    """A completed `ft evaluate` of a run's result, as it would lie there."""
    options = {"model": str(run.folder), "data": data, "metrics": None, "max_questions": None}
    job = create_job("evaluate", "evaluate-x", options)
    job.emit(Eval(step=20, loss=1.0, perplexity=2.7, metrics={"exact_match": value}))
    job.emit(Finished(reason="completed", step=20))
    lines = {"exact_match": {"value": value, "interval": [value - 0.125, value + 0.125]}}
    body = {"metrics": lines, "fingerprint": fingerprint, "against": None}
    (job.folder / "evaluation.json").write_text(json.dumps(body))
    prompt = "system\nYou help.\nuser\nTwo teas\nassistant\n"
    answers = [{"prompt": prompt, "asked": "Two teas", "answers": {"model": f"answer of {run.id}"}}]
    (job.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return job
