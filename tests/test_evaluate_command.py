"""`ft evaluate`: a trained model's scores, which are those of its run, and how an evaluation ends."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.types import Examples
from engine.errors import TrainingError
from engine.evaluation.files import REPORT, RESULT, ROWS
from engine.evaluation.scores import within_memory
from engine.jobs.evaluate import Evaluation
from engine.process.launcher import outcome, start
from engine.runs.directory import control
from engine.runs.directory.events import Phase, Started
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from engine.service.client import Client
from ft.cli import main
from ft.launch import relaunch
from tests.training import recipe_text, write_rows

QUICK: dict[str, Any] = {
    "training": {"epochs": 1, "max_steps": 4},
    "evaluation": {"every": 2, "samples": [], "metrics": ["exact_match"]},
}


def train(base: Path, folder: Path, **sections: Any) -> Run:
    """A run that `ft train` has made."""
    (folder / "train.yml").write_text(recipe_text(base, write_rows(folder), **QUICK | sections))
    assert main(["train", str(folder / "train.yml"), "--plain"]) == 0
    return Run.open()


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["evaluate", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


KINDS: dict[str, dict[str, Any]] = {
    "LoRA in bf16": {"training": {"precision": "bf16", "max_steps": 4}},
    "4 bits": {"model": {"quantization": "4bit"}},
    "full": {"adapter": {"type": "none"}},
    "MLX": {"backend": "mlx"},
    "padded": {"data": {"packing": False}},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_training(
    kind: str, tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model computes as it was trained: a LoRA in bf16 would score otherwise in fp32, or merged."""
    run = train(tiny_model, folder, **KINDS[kind])
    last = run.evaluations()[-1]
    found = evaluated(capsys)
    assert (found["step"], found["model"]) == (4, str(run.folder))
    assert found["metrics"] == pytest.approx(dict(last.scores), rel=1e-5)


@pytest.mark.slow
def test_evaluation_is_a_run_of_its_own(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is listed and shown with its scores; the latest run stays the trained one."""
    run = train(tiny_model, folder)
    capsys.readouterr()
    assert main(["evaluate", str(run.checkpoints / "step-000002"), "--metrics", "perplexity"]) == 0
    loss, perplexity = capsys.readouterr().out.splitlines()
    scores = run.evaluations()[1].scores
    assert loss.startswith(f"validation loss   {scores['eval_loss']:.4f}")
    assert perplexity.startswith(f"perplexity        {scores['perplexity']:.2f}")
    made = next(each for each in Run.all() if each.kind == "evaluate")
    assert (made.state().status, made.id[16:], Run.open().id) == ("completed", "evaluate-tiny", run.id)
    assert main(["runs", "show", made.id]) == 0
    shown = capsys.readouterr().out
    assert f"validation loss {scores['eval_loss']:.4f}" in shown
    assert "None" not in shown


@pytest.mark.slow
def test_other_rows_and_a_model_of_no_run(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.jsonl").write_text('{"prompt": "Say fox.", "completion": " fox"}\n' * 2)
    (folder / "model").symlink_to(tiny_model)
    found = evaluated(capsys, "model", "--data", "mine.jsonl", "--metrics", "exact_match")
    assert found["metrics"].keys() == {"eval_loss", "perplexity", "exact_match"}
    assert found["step"] == 0
    assert Path(Run.all()[0].job["model"]).is_absolute(), "it can be started again from any folder"
    run = train(tiny_model, folder)
    assert evaluated(capsys, run.id, "--data", "mine.jsonl")["metrics"]["eval_loss"] != pytest.approx(
        found["metrics"]["eval_loss"], rel=1e-4
    )


def test_what_cannot_be_evaluated_is_refused(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before an engine is started."""
    assert main(["evaluate", str(tiny_model)]) == 2
    assert "hint: Name them: --data FILE" in capsys.readouterr().err
    assert main(["evaluate", str(tiny_model), "--data", "a.jsonl", "--metrics", "perplexity, blue"]) == 2
    assert "There is no metric 'blue'" in capsys.readouterr().err
    assert Run.all() == []


@pytest.mark.slow
def test_rows_that_are_missing_or_lack_prompts(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tiny_model), "--data", "nothing.jsonl"]) == 3
    assert "nothing.jsonl: no such file" in capsys.readouterr().err
    (folder / "text.txt").write_text("A fox said nothing.")
    assert main(["evaluate", str(tiny_model), "--data", "text.txt", "--metrics", "exact_match"]) == 0
    assert "exact_match cannot be computed" in capsys.readouterr().err
    run = train(tiny_model, folder, data={"validation": "no"}, evaluation={"metrics": ["perplexity"]})
    assert main(["evaluate"]) == 3
    assert f"Run {run.id} has no validation rows" in capsys.readouterr().err


@pytest.mark.slow
def test_changed_data_is_warned_of(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its validation rows may be others than those that were kept from training."""
    train(tiny_model, folder)
    rows = folder / "rows.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[3:]))
    capsys.readouterr()
    assert main(["evaluate"]) == 0
    assert "has changed since it was trained" in capsys.readouterr().err


@pytest.mark.slow
def test_stopped_evaluation_is_started_again(tiny_model: Path, folder: Path) -> None:
    (folder / "mine.jsonl").write_text('{"prompt": "Say fox.", "completion": " fox"}\n' * 2)
    run = Evaluation(str(tiny_model), str(folder / "mine.jsonl")).create()
    engine = start(run)
    control.send(run, "stop")
    assert engine.supervisor.wait() == 0
    assert (run.state().status, run.evaluations()) == ("stopped", [])
    with Client(folder / "service.log") as client:
        launched = relaunch(run.id, None, client)
    assert (launched.run.id, launched.supervisor.wait()) == (run.id, 0)
    assert (run.state().status, len(run.evaluations())) == ("completed", 1)
    assert run.how_to_resume == f"Resume: ft evaluate {tiny_model} --data {folder / 'mine.jsonl'}"


@pytest.mark.slow
def test_killed_evaluation_is_one_clear_message(tiny_model: Path, folder: Path) -> None:
    (folder / "mine.jsonl").write_text('{"prompt": "Say fox.", "completion": " fox"}\n' * 2)
    run = Evaluation(str(tiny_model), str(folder / "mine.jsonl")).create()
    engine = start(run)
    end = time.monotonic() + 60
    while not any(isinstance(event, Phase) for event in run.events()):
        assert time.monotonic() < end
        time.sleep(0.005)
    os.kill(next(event.pid for event in run.events() if isinstance(event, Started)), signal.SIGKILL)
    with pytest.raises(TrainingError, match="SIGKILL") as error:
        outcome(run, engine.since, engine.supervisor.wait())
    assert "ft evaluate" in error.value.hint
    assert not any((run.folder / name).exists() for name in (RESULT, ROWS, REPORT)), "nothing half-written"


def test_password_of_rows_is_in_no_file(tiny_model: Path, ft_home: Path) -> None:
    run = Evaluation(str(tiny_model), "https://ann:s3cret-word@example.org/rows.jsonl").create()
    assert list(run.addresses.values()) == ["https://ann:s3cret-word@example.org/rows.jsonl"]
    held = [file.read_text() for file in run.folder.rglob("*") if file.is_file()]
    assert held
    assert not any("s3cret-word" in text for text in held)
    (name,) = run.addresses
    recipe = Evaluation.of(run).recipe(TrainedModel.find(tiny_model))
    assert f"${{{name}}}" in str(recipe.data.train)


def test_bad_answers_are_not_scored() -> None:
    """Of a pair the chosen answer alone, of labelled answers the good ones."""
    examples = Examples(
        tokens=np.array([1, 2, 3, 4, 5, 6, 7], dtype=np.int32),
        trained=np.array([0, 1, 0, 1, 1, 0, 1], dtype=bool),
        offsets=np.array([0, 2, 5, 7]),
        group=np.array([0, 0, 1], dtype=np.int32),
        sign=np.array([1, -1, 1], dtype=np.int8),
    )
    good = examples.good()
    assert [list(example.input_ids) for example in good] == [[1, 2], [6, 7]]
    assert (good.trained_tokens, good.group, good.sign) == (2, None, None)


def test_batch_is_halved_until_it_fits_in_memory() -> None:
    tried: list[int] = []

    def compute(rows: int) -> str:
        tried.append(rows)
        if rows > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return "scores"

    told: list[int] = []
    assert within_memory(compute, 32, told.append) == ("scores", 8)
    assert (tried, told) == ([32, 16, 8], [16, 8])
    with pytest.raises(ZeroDivisionError):
        within_memory(lambda rows: 1 // 0, 32, told.append)
