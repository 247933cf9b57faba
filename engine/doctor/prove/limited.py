"""A training in little memory, in a process of its own: `python -m engine.doctor.prove.limited FOLDER STARTER`."""

import json
import resource
import sys
from pathlib import Path

import psutil

from engine.doctor.prove import tiny
from engine.doctor.prove.learning import SAME
from engine.doctor.prove.trial import Bench, apart, losses, trained
from engine.runs.directory.events import Warned
from engine.runs.directory.run import Run

ROOM = 48 << 20
"""Bytes beyond what is in use when the limit comes: too few for a step in one micro-batch."""
ROWS = 64


def main(folder: Path, starter: Path) -> dict[str, object]:
    """Train under the limit, then without it; the outcome for `results.memory_runs_out`."""
    bench = Bench(folder, starter, tiny.rows(folder / "many-rows.jsonl", ROWS, longest=80))
    settings = {"batch_size": ROWS, "effective_batch_size": ROWS, "max_steps": 2, "precision": "fp32"}
    model = bench.model("Llama")
    small = {"batch_size": 2, "effective_batch_size": 2, "max_steps": 1, "precision": "fp32"}
    trained(
        bench.recipe(model, training=small, backend="peft")
    )  # what is loaded but once lies under the limit
    recipe = bench.recipe(model, training=settings, backend="peft")
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + ROOM, most))
    run = trained(recipe)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    smaller, difference = _smaller(run), apart(losses(run), losses(trained(recipe)))
    holds = smaller > 0 and difference < SAME["fp32"]
    figure = f"micro-batch halved {smaller} times, losses differ by {difference:.1e} of their value"
    return {"holds": holds, "figure": figure}


def _smaller(run: Run) -> int:
    """How often the micro-batch was halved."""
    warnings = [event.message for event in run.events() if isinstance(event, Warned)]
    return sum(message.startswith("Out of memory") for message in warnings)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))), flush=True)
