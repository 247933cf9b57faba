"""Answers to held-out questions: scored against the file's, with progress told while they are written."""

import json
from pathlib import Path

import pytest

from engine.runs.events import Eval, Phase
from tests.training import Job

pytestmark = pytest.mark.slow


def test_a_learned_answer_is_an_exact_match_and_its_progress_is_told(
    tiny_model: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "fox.jsonl"
    rows.write_text((json.dumps({"prompt": "Who jumps?", "completion": "fox"}) + "\n") * 8)
    job = Job.make(
        tiny_model,
        tmp_path,
        data={"train": str(rows), "validation": {"path": str(rows)}},
        adapter={"type": "none"},
        training={"max_steps": 30, "learning_rate": 1e-2},
        evaluation={"every": 30, "metrics": ["exact_match"], "samples": []},
    )
    assert job.train() == "completed"
    events = list(job.run.events())
    scores = [event.metrics["exact_match"] for event in events if isinstance(event, Eval)]
    assert scores == [0.0, 1.0]
    told = [event.done for event in events if isinstance(event, Phase) and event.total == 8]
    assert any(done is not None and 0 < done < 8 for done in told), "before the whole batch is answered"
