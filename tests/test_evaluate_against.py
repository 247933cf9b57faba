"""`ft evaluate --against`: one model beside another, never one's answers for the other's; gates, files, the page."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.backends.torch.causal_lm import TorchModel
from engine.errors import ConfigError
from engine.evaluation.files import REPORT, RESULT, ROWS
from engine.evaluation.gates import Limit, below, worse_than
from engine.jobs.evaluate import Evaluation
from engine.metrics.registry import load
from engine.runs.directory.events import Warned
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from ft.cli import main
from tests.evaluated import HOSTILE, LABELS, Trained, scored, trained_in
from tests.judge_server import judging
from tests.training import recipe_text, write_rows


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with trained_in(tmp_path_factory.mktemp("trained"), tiny_model) as run:
        yield run


@pytest.mark.slow
def test_base_is_scored_with_the_adapter_off(trained: Trained) -> None:
    """Its loss is that of the run before its first step, and ours that of the run after its last."""
    first, *_, last = trained.run.evaluations()
    run, body = scored(trained, None, "exact_match", against="base")
    loss = body["metrics"]["eval_loss"]
    assert loss["value"] == pytest.approx(last.loss, rel=1e-5)
    assert loss["against"] == pytest.approx(first.loss, rel=1e-5)
    assert loss["difference"]["value"] == pytest.approx(last.loss - first.loss, rel=1e-5)
    assert loss["difference"]["high"] < 0
    match = body["metrics"]["exact_match"]
    assert (match["value"], match["against"]) == (1.0, 0.0), "it learned to say fox, the base did not"
    assert run.evaluations()[-1].loss == loss["value"], "the event is of the model, not of the base"


@pytest.mark.slow
def test_rows_that_differ_most_are_kept_with_both_answers(trained: Trained) -> None:
    run, body = scored(trained, trained.rows, against="base", rows=2)
    rows = [json.loads(line) for line in (run.folder / ROWS).read_text().splitlines()]
    assert len(rows) == 9
    for at, row in enumerate(rows):
        assert row["reference"] == LABELS[at % 3]
        assert HOSTILE in row["prompt"]
        assert row["answers"]["model"] == "fox"
        assert row["scores"]["exact_match"] == {"model": float(at % 3 == 0), "against": 0.0}
        assert row["scores"]["eval_loss"].keys() == {"model", "against"}
    assert body["differ_by"] == "exact_match"
    assert [row["reference"] for row in body["differ_most"]] == ["fox", "fox"]
    assert body["metrics"]["accuracy"]["details"]["classes"]["fox"]["recall"] == 1
    assert body["metrics"]["accuracy"]["value"] == pytest.approx(1 / 3)


@pytest.mark.slow
def test_labels_are_scored_without_an_answer(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("nothing is to be generated")

    monkeypatch.setattr(TorchModel, "generate", refuse)
    _, body = scored(trained, trained.rows, "label_accuracy", "label_f1", against="base")
    found = body["metrics"]["label_accuracy"]
    assert found["value"] == pytest.approx(1 / 3), "fox is likeliest everywhere"
    assert found["details"]["classes"]["fox"]["recall"] == 1
    assert "not length-normalised" in found["details"]["scored by"]
    assert found["details"]["accuracy of the commonest label"] == pytest.approx(1 / 3)


@pytest.mark.slow
def test_rows_that_call_tools_are_scored_by_their_calls(trained: Trained) -> None:
    """The row without a call is left out of them, and the row without text out of exact match."""
    run, body = scored(trained, trained.calls, "tool_calls", "tool_name", "exact_match", "json_valid")
    values = {name: line["value"] for name, line in body["metrics"].items()}
    assert (values["tool_calls"], values["tool_name"], values["exact_match"]) == (0, 0, 1)
    assert "json_valid" in body["lacking"]
    told = [event.message for event in run.events() if isinstance(event, Warned)]
    assert any("valid JSON cannot be computed: none of the rows has a JSON object" in text for text in told)


@pytest.mark.slow
def test_another_model_is_loaded_for_itself(trained: Trained, tiny_model: Path) -> None:
    """A checkpoint, and the base as a folder, whose scores are those of the base with the adapter off."""
    early = trained.run.checkpoints / "step-000040"
    _, body = scored(trained, None, "exact_match", against=str(early))
    middle = trained.run.evaluations()[1]
    assert body["metrics"]["eval_loss"]["against"] == pytest.approx(middle.loss, rel=1e-5)
    assert body["against"].endswith("step-000040")
    with pytest.raises(ConfigError, match="is the model itself"):
        Evaluation(str(early), against=str(early)).check(TrainedModel.find(early))


@pytest.mark.slow
def test_models_of_different_tokens_compare_answers_alone(
    trained: Trained, tiny_model: Path, tmp_path: Path
) -> None:
    """The folder's own template is another one than the run's."""
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    (other / "chat_template.jinja").write_text(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    run, body = scored(trained, trained.rows, against=str(other))
    assert body["metrics"]["eval_loss"]["against"] is None
    assert body["metrics"]["chrf"]["difference"]["rows"] == 9
    told = [event.message for event in run.events() if isinstance(event, Warned)]
    assert any("tokens differ" in text for text in told)


@pytest.mark.slow
def test_full_training_is_compared_with_the_base_too(tiny_model: Path, folder: Path) -> None:
    """There is no adapter to turn off, so the base is loaded when the model is freed."""
    rows = write_rows(folder)
    steps = {"max_steps": 4, "precision": "fp32"}
    quick = {"every": 4, "samples": [], "metrics": ["perplexity"]}
    recipe = recipe_text(tiny_model, rows, adapter={"type": "none"}, training=steps, evaluation=quick)
    (folder / "train.yml").write_text(recipe)
    assert main(["train", str(folder / "train.yml"), "--plain"]) == 0
    trained = Run.open()
    _, body = scored(Trained(trained, rows, rows), None, "perplexity", against="base")
    first, last = trained.evaluations()
    assert body["metrics"]["eval_loss"]["value"] == pytest.approx(last.loss, rel=1e-5)
    assert body["metrics"]["eval_loss"]["against"] == pytest.approx(first.loss, rel=1e-5)


@pytest.mark.slow
def test_forgetting_and_judge_are_reported(
    trained: Trained, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """In text, as JSON's parts, and on the page."""
    with judging(lambda asked: "A") as server:
        arguments = [
            "--forgetting",
            "--judge",
            server.address,
            "--html",
            "page.html",
            "--checkpoint",
            "last",
            "--max-tokens",
            "6",
        ]
        capsys.readouterr()
        assert main(["evaluate", str(trained.run.folder), "--data", str(trained.rows), *arguments]) == 0
    shown = capsys.readouterr().out
    assert "General rows, not the task: 0 lost, 0 gained" in shown
    assert "answer contained" in shown
    assert "Judge tiny-judge: 0 won, 0 lost, 0 ties, 9 where the two orders disagree" in shown
    made = next(run for run in Run.all() if run.kind == "evaluate")
    body = json.loads((made.folder / RESULT).read_text())
    assert {kind: each["rows"] for kind, each in body["forgetting"]["kinds"].items()} == {
        "arithmetic": 20,
        "facts": 24,
        "instructions": 24,
        "translation": 18,
    }
    assert (folder / "page.html").read_bytes() == (made.folder / REPORT).read_bytes()
    assert "step-000080" in body["model"]


@pytest.mark.slow
def test_judge_that_fails_midway_leaves_the_scores(
    trained: Trained, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """Its key expires after two rows: they are reported, and all that was computed without it."""
    with judging(lambda asked: "TIE") as server:
        server.failures += [200] * 4 + [401] * 100
        words = ["--metrics", "exact_match", "--judge", server.address, "--html", "page.html"]
        capsys.readouterr()
        assert main(["evaluate", str(trained.run.folder), "--data", str(trained.rows), *words]) == 0
    shown = capsys.readouterr()
    assert "2 of 9 rows were judged: The judge at http://127.0.0.1" in shown.err
    assert "--judge-key" in shown.err
    assert "exact_match" in shown.out
    assert "Judge tiny-judge: 2 of 9 rows judged: 0 won, 0 lost, 2 ties" in shown.out
    assert "2 of 9 rows judged" in (folder / "page.html").read_text()


@pytest.mark.slow
def test_gate_fails_with_one_line_a_score(
    trained: Trained, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """The worse of two checkpoints against the other, and the scores are printed all the same."""
    by_loss = []
    for step in ("40", "80"):
        checkpoint = Trained(Run(trained.run.checkpoints / f"step-0000{step}"), trained.rows, trained.calls)
        run, body = scored(checkpoint, trained.rows, "exact_match")
        by_loss.append((body["metrics"]["eval_loss"]["value"], step, run.id))
    (_, _, better), (_, worse, own) = sorted(by_loss)
    one = ["evaluate", str(trained.run.folder), "--data", str(trained.rows), "--metrics", "exact_match"]
    capsys.readouterr()
    limits = ["--fail-under", "exact_match=0.5", "--fail-if-worse-than", better]
    assert main([*one, "--checkpoint", worse, *limits, "--json"]) == 1
    shown = capsys.readouterr()
    assert str(json.loads(shown.out)["step"]) == worse
    match, loss, *_ = [line for line in shown.err.splitlines() if line.startswith("error:")]
    assert match.startswith("error: exact_match is ")
    assert "at least 50.0% was asked for" in match
    assert loss.startswith("error: validation loss is ")
    assert better in loss
    good = ["--fail-under", "exact_match=10%", "--fail-under", "perplexity=1e9", "--fail-if-worse-than", own]
    assert main([*one, "--checkpoint", worse, *good]) == 0


def test_gates_follow_the_direction_of_a_metric() -> None:
    metrics = {name: load(name) for name in ("eval_loss", "exact_match")}
    scores = {"eval_loss": 1.0, "exact_match": 0.5}
    assert below([Limit("eval_loss", 1.1), Limit("exact_match", 0.5)], scores, metrics) == []
    (loss, match) = below([Limit("eval_loss", 0.9), Limit("exact_match", 0.51)], scores, metrics)
    assert loss == "validation loss is 1.0000; at most 0.9000 was asked for."
    assert match == "exact_match is 50.0%; at least 51.0% was asked for."
    assert worse_than({"eval_loss": 1.0, "exact_match": 0.4}, "a", scores, metrics) == []
    (told,) = worse_than({"eval_loss": 0.8, "exact_match": 0.4}, "a", scores, metrics)
    assert told == "validation loss is 1.0000, worse than 0.8000 of a."
    assert "could not be computed" in below([Limit("exact_match", 0.5)], {}, metrics)[0]
    with pytest.raises(ConfigError, match="was not scored"):
        worse_than({"bleu": 3.0}, "a", scores, metrics)


def test_mistakes_are_refused_before_the_work(
    trained: Trained, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    one = ["evaluate", str(trained.run.folder)]
    for words, told in {
        "--fail-under exact_match": "expected METRIC=NUMBER",
        "--fail-under bleu=20": "that metric is not computed",
        "--metrics answer_length --fail-under answer_length=5": "neither more nor less is better",
        "--checkpoint 7": "has no checkpoint 7",
        "--metrics ./mine.py": "no such file",
        "--against nothing-like-it": "nothing-like-it",
        "--html there/page.html": "its folder is not there",
        f"--data {trained.rows} --fail-if-worse-than {trained.run.folder}": "on its own validation rows",
    }.items():
        assert main([*one, *words.split()]) == 2, words
        assert told in capsys.readouterr().err
    assert Run.all() == []
