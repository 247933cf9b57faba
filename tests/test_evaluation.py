"""Answers to validation questions: scored against the file's, with progress reported while they are written."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.backends.torch.causal_lm import TorchModel
from engine.runs.directory.events import Eval, Phase, Warned
from tests.training import Job

pytestmark = pytest.mark.slow


def learning_the_fox(model: Path, folder: Path) -> Job:
    """A run that looks before and after whether it has learned its one answer."""
    rows = folder / "fox.jsonl"
    rows.write_text((json.dumps({"prompt": "Who jumps?", "completion": "fox"}) + "\n") * 8)
    return Job.make(
        model,
        folder,
        data={"train": str(rows), "validation": {"path": str(rows)}},
        adapter={"type": "none"},
        training={"max_steps": 30, "learning_rate": 1e-2, "precision": "bf16"},
        evaluation={"every": 30, "metrics": ["exact_match"], "samples": []},
    )


def test_learned_answer_is_exact_match(tiny_model: Path, tmp_path: Path) -> None:
    """The evaluation's progress is told."""
    job = learning_the_fox(tiny_model, tmp_path)
    assert job.train() == "completed"
    events = list(job.run.events())
    scores = [event.metrics["exact_match"] for event in events if isinstance(event, Eval)]
    assert scores == [0.0, 1.0]
    told = [event.done for event in events if isinstance(event, Phase) and event.total == 8]
    assert any(done is not None and 0 < done < 8 for done in told), "before the whole batch is answered"


def test_answers_short_of_memory_shrink_batch(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer are generated at the same time."""
    whole = TorchModel.decoder

    def decoder(self: TorchModel, slots: int) -> Any:
        if slots > 8 // 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return whole(self, slots)

    monkeypatch.setattr(TorchModel, "decoder", decoder)
    job = learning_the_fox(tiny_model, tmp_path)
    assert job.train() == "completed"
    events = list(job.run.events())
    assert [event.metrics["exact_match"] for event in events if isinstance(event, Eval)] == [0.0, 1.0]
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert any("continuing with 4 answers at a time" in message for message in warnings)


def test_recipe_can_ask_for_scored_labels(tiny_model: Path, tmp_path: Path) -> None:
    """Among the metrics of a run, beside those of answers; rows that call tools do not change exact match."""
    rows = tmp_path / "labels.jsonl"
    turns = [("Say fox.", "fox"), ("Say tea.", "tea")] * 6
    rows.write_text("".join(json.dumps({"prompt": ask, "completion": said}) + "\n" for ask, said in turns))
    job = Job.make(
        tiny_model,
        tmp_path,
        data={"train": str(rows), "validation": {"path": str(rows)}},
        training={"max_steps": 2},
        evaluation={"every": 2, "metrics": ["label_accuracy", "exact_match"], "samples": []},
    )
    assert job.train() == "completed"
    last = [event for event in job.run.events() if isinstance(event, Eval)][-1]
    assert last.metrics["label_accuracy"] == 0.5, (
        "an untrained model finds one of the two likelier everywhere"
    )
    assert last.metrics.keys() == {"label_accuracy", "exact_match"}
