"""Tasks of lm-evaluation-harness: its requests answered by our models."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.backends.torch.causal_lm import TorchModel
from engine.data.batching import batch_of_rows
from engine.data.token_spec import TokenSpec
from engine.errors import ConfigError
from engine.evaluation import harness, harness_model
from engine.evaluation.harness_model import Harness
from engine.evaluation.measuring import Measuring
from engine.jobs.base import Stopped
from tests.own_task import DOCS, TASK, WRITTEN, own_task

pytestmark = pytest.mark.slow


def quiet(*arguments: int) -> None:
    """Ignore progress."""


@pytest.fixture
def parts(tiny_model: Path) -> tuple[TorchModel, Any, Measuring]:
    tokenizer = TokenSpec().encoder(tiny_model).tokenizer
    return TorchModel.open(tiny_model, None), tokenizer, Measuring(frozenset(), quiet, quiet, quiet)


def request(*arguments: Any) -> Any:
    return SimpleNamespace(args=arguments, task_name="a_task")


def test_requests_are_answered_by_the_model(parts: tuple[TorchModel, Any, Measuring]) -> None:
    model, tokenizer, measuring = parts
    asked = Harness(model, tokenizer, measuring, 512)
    (said,) = asked.generate_until([request("Who jumps?", {"until": ["\\n\\n"], "max_gen_toks": 4})])
    context = asked.tok_encode("Who jumps?")
    greedy = model.generate([context], 4, tokenizer.stop_ids, quiet)[0]
    assert said == tokenizer.decode(greedy)
    found = asked._loglikelihood_tokens([(("", ""), context, greedy), (("", ""), context, greedy[::-1])])
    row = batch_of_rows([[*context, *greedy]], trained_from=len(context))
    assert found[0][0] == pytest.approx(float(model.logps(row).sum()), rel=1e-4)
    assert [likeliest for _, likeliest in found] == [True, greedy == greedy[::-1]]


def test_answers_written_together_are_those_written_alone(
    parts: tuple[TorchModel, Any, Measuring], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of prompts and lengths that differ, in the order of the requests; with few slots, rows take turns."""
    model, tokenizer, measuring = parts
    asked = Harness(model, tokenizer, measuring, 512)
    texts = ["Who jumps over the robot?", "", "Tell a story of tea and a fox.", "Hm", "A bird said that"]
    settings = [{"max_gen_toks": most} for most in (9, 3, 1, 12, 6)]
    monkeypatch.setattr(harness_model, "ANSWER_ROWS", 2)
    together = asked.generate_until([request(*each) for each in zip(texts, settings, strict=True)])
    for text, setting, found in zip(texts, settings, together, strict=True):
        prompt = asked.tok_encode(text) or [asked.prefix_token_id]
        alone = model.generate([prompt], setting["max_gen_toks"], tokenizer.stop_ids, quiet)[0]
        assert found == tokenizer.decode(alone)


def test_answer_ends_at_the_tasks_own_text_and_is_never_drawn(
    parts: tuple[TorchModel, Any, Measuring],
) -> None:
    model, tokenizer, measuring = parts
    asked = Harness(model, tokenizer, measuring, 512)
    (whole,) = asked.generate_until([request("Who jumps?", {"max_gen_toks": 8})])
    stop = whole[3:5]
    (cut,) = asked.generate_until([request("Who jumps?", {"max_gen_toks": 8, "until": [stop]})])
    assert cut == whole[: whole.index(stop)]
    with pytest.raises(ConfigError, match="a_task draws its answers"):
        asked.generate_until([request("Who jumps?", {"do_sample": True})])


def test_stop_of_a_person_ends_a_task(parts: tuple[TorchModel, Any, Measuring], tmp_path: Path) -> None:
    """It is not taken for a fault of the task."""
    model, tokenizer, measuring = parts

    def stop(*arguments: int) -> None:
        raise Stopped

    for task in (TASK, WRITTEN):
        stopped = Measuring(measuring.needs, stop, stop, quiet)
        with pytest.raises(Stopped):
            harness.score([str(own_task(tmp_path, task))], model, tokenizer, stopped, 512)


def test_whole_text_is_scored_in_windows(parts: tuple[TorchModel, Any, Measuring]) -> None:
    """Each token once, whatever the model's positions; with room for all, in one go."""
    model, tokenizer, measuring = parts
    text = "A fox said that a bird had tea."
    ids = tokenizer.encode([text], special=False)[0]
    asked = Harness(model, tokenizer, measuring, 512)
    row = batch_of_rows([[asked.prefix_token_id, *ids]])
    assert asked.loglikelihood_rolling([request(text)])[0] == pytest.approx(
        float(model.logps(row).sum()), rel=1e-4
    )
    narrow = Harness(model, tokenizer, measuring, 8)
    assert np.isfinite(narrow.loglikelihood_rolling([request(text)])[0])


def test_task_of_ones_own_is_scored(parts: tuple[TorchModel, Any, Measuring], tmp_path: Path) -> None:
    """Its accuracy is that of the choices' log-probabilities."""
    model, tokenizer, measuring = parts
    (found,) = harness.score([str(own_task(tmp_path))], model, tokenizer, measuring, 512)
    right = 0
    for doc in DOCS:
        choices = [str(choice) for choice in doc["choices"]]  # type: ignore[attr-defined]
        context = tokenizer.encode([str(doc["question"])])[0]
        whole = [tokenizer.encode([str(doc["question"]) + choice])[0] for choice in choices]
        sums = measuring.answers_logps(model, [(context, ids[len(context) :]) for ids in whole])
        right += int(np.argmax(sums)) == doc["answer"]
    assert (found.task, found.metric, found.value) == (
        "animals",
        "acc,none",
        pytest.approx(right / len(DOCS)),
    )


def test_task_that_cannot_be_run_is_one_clear_message(
    parts: tuple[TorchModel, Any, Measuring], tmp_path: Path
) -> None:
    model, tokenizer, measuring = parts
    with pytest.raises(ConfigError, match="no such file"):
        harness.score([str(tmp_path / "none.yaml")], model, tokenizer, measuring, 512)
    task = tmp_path / "broken.yaml"
    task.write_text(TASK.replace("DATA", str(tmp_path / "gone.json")))
    with pytest.raises(ConfigError, match="lm-eval cannot run animals"):
        harness.score([str(task)], model, tokenizer, measuring, 512)
    task.write_text("dataset_path: json\n")
    with pytest.raises(ConfigError, match="names no task"):
        harness.score([str(task)], model, tokenizer, measuring, 512)
