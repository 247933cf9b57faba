"""`ft.evaluate` and `ft.export`: what the commands do, from code, as docs/python.md shows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ft as api
from engine.errors import ConfigError, DataError
from engine.runs.directory.run import Run
from ft.cli import main
from tests.training import recipe_text, write_rows

pytestmark = pytest.mark.slow
QUICK: dict[str, Any] = {
    "training": {"epochs": 1, "max_steps": 4},
    "evaluation": {"every": 2, "samples": [], "metrics": ["exact_match"]},
}


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[api.Run]:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "train.yml").write_text(recipe_text(tiny_model, write_rows(folder), **QUICK))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(folder / "home"))
        run = api.train(folder / "train.yml", folder=folder / "run")
        run.wait()
    yield run
    run.close()


def test_scores_are_those_of_the_command(
    trained: api.Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = api.evaluate(trained, against="base", metrics=["chrf", "answer_length"])
    capsys.readouterr()
    words = ["--against", "base", "--metrics", "chrf,answer_length", "--json"]
    assert main(["evaluate", str(trained.folder), *words]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert found.scores == shown["metrics"]
    assert found.against == {name: line["against"] for name, line in shown["lines"].items()}
    assert len(found.rows) == shown["texts"]
    assert set(found.rows[0]["answers"]) == {"model", "against"}
    assert found.report.read_text().startswith("<!doctype html>")
    assert found.warnings == ()


def test_rows_of_a_program_and_a_checkpoint(trained: api.Run, folder: Path) -> None:
    rows = [{"prompt": f"Say {word}.", "completion": f" {word}"} for word in ("fox", "tea")]
    found = api.evaluate(trained, checkpoint=2, data=rows, metrics=["exact_match", "json_valid"])
    assert found.result["step"] == 2
    assert [row["reference"] for row in found.rows] == [" fox", " tea"]
    assert "valid JSON cannot be computed" in found.warnings[0]


def test_export_is_a_model_that_is_scored_alike(trained: api.Run, folder: Path) -> None:
    """The merged model is named by its folder, and says of the same rows what the adapter beside its base says."""
    made = api.export(trained, "merged", folder / "out", options={"dtype": "fp32"})
    assert made == folder / "out"
    assert json.loads((made / "export.json").read_text())["proof"]["passed"]
    rows = [{"prompt": "Say fox 2 times.", "completion": "fox fox"}]
    ours, merged = (api.evaluate(model, data=rows, metrics=["chrf"]) for model in (trained, made))
    assert merged.scores["eval_loss"] == pytest.approx(ours.scores["eval_loss"], rel=1e-3)


def test_mistakes_are_raised_before_the_work_and_failures_after(trained: api.Run, folder: Path) -> None:
    for call, told in (
        (lambda: api.evaluate(trained, metrics=["blue"]), "There is no metric 'blue'"),
        (lambda: api.evaluate(trained, against=trained), "is the model itself"),
        (lambda: api.evaluate("nothing-like-it"), "There is no run"),
        (lambda: api.export(trained, "floppy"), "floppy"),
        (lambda: api.export(trained, "merged", quantize="q8_0"), "does not quantise"),
        (lambda: api.export(trained, "merged", folder, checkpoint=3), "has no checkpoint 3"),
    ):
        with pytest.raises(ConfigError, match=told):
            call()
    assert Run.all() == []
    with pytest.raises(DataError, match="no such file"):
        api.evaluate(trained, data="nothing.jsonl")
