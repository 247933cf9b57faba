"""Trainings of the proof: whole runs by the engine's own job, in this process, in the folders of the proof."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.load import Recipe, load_text
from engine.doctor.prove import tiny
from engine.jobs import train
from engine.jobs.base import JobContext
from engine.runs.directory.control import Control
from engine.runs.directory.create import create_run
from engine.runs.directory.events import Step
from engine.runs.directory.run import Run

STEPS = 4


@dataclass(frozen=True)
class Bench:
    """The folders of one proof."""

    folder: Path
    starter: Path
    rows: Path

    def model(self, family: str) -> Path:
        """The tiny model of a family, made when it is first asked for."""
        made = self.folder / family
        return made if made.is_dir() else tiny.make(family, made, self.starter)

    def recipe(self, base: Path, **changes: Mapping[str, Any] | str) -> Recipe:
        """A recipe of `STEPS` steps; `changes` are merged into its sections."""
        body: dict[str, Any] = {
            "name": "proof",
            "model": {"base": str(base), "max_seq_length": 128},
            "data": {"train": str(self.rows), "validation": "none"},
            "adapter": {"rank": 8},
            "training": {
                "max_steps": STEPS,
                "effective_batch_size": 8,
                "batch_size": 4,
                "learning_rate": 1e-3,
            },
            "evaluation": {"samples": []},
            "checkpoints": {"every": 2},
        }
        for name, change in changes.items():
            body[name] = body.get(name, {}) | change if isinstance(change, Mapping) else change
        return load_text(json.dumps(body), self.folder / "train.yml")


def trained(recipe: Recipe, run: Run | None = None, resume: Path | None = None) -> Run:
    """Train a recipe to its end in this process; with `run` and `resume`, that run again from a checkpoint."""
    run = run or create_run(recipe)
    with run.locked():
        train.run(JobContext(run, Control(run), resume, force=True))
    return run


def losses(run: Run) -> list[float]:
    """Training loss of each step, in nats a trained token."""
    return [event.loss for event in run.events() if isinstance(event, Step)]


def apart(left: Sequence[float], right: Sequence[float]) -> float:
    """Largest relative difference of two curves; infinite where they are of different length."""
    if len(left) != len(right) or not left:
        return float("inf")
    return max(abs(one - other) / abs(other) for one, other in zip(left, right, strict=True))
