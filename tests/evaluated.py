"""A run to evaluate, and rows for it; shared by the tests of `ft evaluate`."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from engine.evaluation.files import RESULT
from engine.jobs import evaluate
from engine.jobs.base import JobContext
from engine.jobs.evaluate import Evaluation
from engine.runs.directory.control import Control
from engine.runs.directory.run import Run
from ft.cli import main
from tests.training import recipe_text

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
LABELS = ("fox", "bird", "tea")


@dataclass
class Trained:
    """A run that learned to answer every prompt with one word, and rows to score it on."""

    run: Run
    rows: Path
    calls: Path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(prompt: str, answer: str, **more: Any) -> dict[str, Any]:
    turn = {"role": "assistant", "content": answer, **more}
    return {"messages": [{"role": "user", "content": prompt}, turn]}


def with_a_loud_head(model: Path, folder: Path) -> Path:
    """A copy whose logits are wide apart: an adapter in front of a random model's faint head can move little."""
    copy = folder / "base"
    shutil.copytree(model, copy)
    file = copy / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] = 12 * tensors["model.norm.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    return copy


@contextmanager
def trained_in(folder: Path, tiny_model: Path) -> Iterator[Trained]:
    """The run, the last one of a home in `folder`, for the length of the block."""
    train = write(folder / "fox.jsonl", [asked(f"Say {word}.", "fox") for word in LABELS * 4])
    recipe = recipe_text(
        with_a_loud_head(tiny_model, folder), train,
        model={"chat_template": "chatml", "max_seq_length": 256}, data={"validation": 0.3},
        training={"epochs": 90, "max_steps": 80, "learning_rate": 1e-2, "precision": "fp32"},
        evaluation={"every": 40, "samples": [], "metrics": ["exact_match"]},
        adapter={"dropout": 0.0, "rank": 16}, checkpoints={"every": 40},
    )  # fmt: skip
    (folder / "train.yml").write_text(recipe)
    rows = write(folder / "rows.jsonl", [asked(f"Say {HOSTILE} {n}.", LABELS[n % 3]) for n in range(9)])
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    calls = write(folder / "calls.jsonl", [asked("Rome?", "", tool_calls=[call]), asked("Say tea.", "fox")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(folder / "home"))
        assert main(["train", str(folder / "train.yml"), "--plain"]) == 0
        yield Trained(Run(Run.open().folder), rows, calls)


def scored(trained: Trained, data: Path | None, *metrics: str, **options: Any) -> tuple[Run, dict[str, Any]]:
    """The evaluation's run and its result; done in this process."""
    chosen = metrics or ("exact_match", "accuracy", "chrf")
    run = Evaluation(str(trained.run.folder), str(data) if data else None, chosen, **options).create()
    assert evaluate.run(JobContext(run, Control(run))) == "completed"
    return run, json.loads((run.folder / RESULT).read_text())
