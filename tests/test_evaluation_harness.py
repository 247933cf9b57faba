"""Tasks of lm-evaluation-harness, where it is installed: its requests answered by our models."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.backends.torch.causal_lm import TorchModel
from engine.data.batching import batch_of_rows
from engine.data.token_spec import TokenSpec
from engine.errors import ConfigError
from engine.evaluation import harness
from engine.evaluation.measuring import Measuring

pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
pytestmark = pytest.mark.slow

TASK = """task: animals
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
"""
DOCS = [{"question": f"Say {n}:", "choices": [" fox", " bird", " tea"], "answer": n % 3} for n in range(6)]


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
    asked = harness.harness_model(model, tokenizer, measuring, 512)
    (said,) = asked.generate_until([request("Who jumps?", {"until": ["\\n\\n"], "max_gen_toks": 4})])
    context = asked.tok_encode("Who jumps?")
    greedy = model.generate([context], 4, tokenizer.stop_ids, quiet)[0]
    assert said == tokenizer.decode(greedy)
    found = asked._loglikelihood_tokens([(("", ""), context, greedy), (("", ""), context, greedy[::-1])])
    row = batch_of_rows([[*context, *greedy]], trained_from=len(context))
    assert found[0][0] == pytest.approx(float(model.logps(row).sum()), rel=1e-4)
    assert [likeliest for _, likeliest in found] == [True, greedy == greedy[::-1]]


def test_whole_text_is_scored_in_windows(parts: tuple[TorchModel, Any, Measuring]) -> None:
    """Each token once, whatever the model's positions; with room for all, in one go."""
    model, tokenizer, measuring = parts
    text = "A fox said that a bird had tea."
    ids = tokenizer.encode([text], special=False)[0]
    asked = harness.harness_model(model, tokenizer, measuring, 512)
    row = batch_of_rows([[asked.prefix_token_id, *ids]])
    assert asked.loglikelihood_rolling([request(text)])[0] == pytest.approx(
        float(model.logps(row).sum()), rel=1e-4
    )
    narrow = harness.harness_model(model, tokenizer, measuring, 8)
    assert np.isfinite(narrow.loglikelihood_rolling([request(text)])[0])


def test_task_of_ones_own_is_scored(parts: tuple[TorchModel, Any, Measuring], tmp_path: Path) -> None:
    """Its accuracy is that of the choices' log-probabilities."""
    model, tokenizer, measuring = parts
    data = tmp_path / "animals.json"
    data.write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    task = tmp_path / "animals.yaml"
    task.write_text(TASK.replace("DATA", str(data)))
    (found,) = harness.score([str(task)], model, tokenizer, measuring, 512)
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
