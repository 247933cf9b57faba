"""Two runs set side by side, and a recipe started from a run, as a person would check them by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.load import load_text
from engine.errors import ConfigError
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Eval, Finished, Sample, Started
from engine.runs.directory.fork import continued_text, fork_text, free_name
from engine.runs.directory.run import Run
from engine.runs.index import compare as comparing
from engine.runs.index.compare import Comparison, Row, written
from engine.runs.index.index import Index, summary_of
from ft import cli
from tests.run_fixtures import STARTED, evaluated, make_run, step


def compare(left: Run, right: Run) -> Comparison:
    return comparing.compare(summary_of(left), summary_of(right))


def rows(found: Comparison, section: str) -> dict[str, Row]:
    return {row.key: row for row in found.different().get(section, ())}


def ft(*arguments: str) -> "subprocess.CompletedProcess[str]":
    root = str(Path(cli.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-m", "ft.cli", *arguments],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_compared_runs_show_only_differences(ft_home: Path) -> None:
    left = make_run("20260101-000000-a", lr=1e-3, rank=16)
    right = make_run("20260102-000000-a", lr=2e-4, rank=16, provenance={"versions": {"torch": "2.14.0"}})
    found = compare(left, right)
    assert {key: (row.left, row.right) for key, row in rows(found, "recipe").items()} == {
        "training.learning_rate": (1e-3, 2e-4)
    }
    assert {key: (row.left, row.right) for key, row in rows(found, "versions").items()} == {
        "torch": ("2.13.0", "2.14.0"),
        "peft": ("0.21.2", None),
    }
    assert rows(found, "data and model") == {}
    assert not found.cautions


def test_better_validation_loss_is_named(ft_home: Path) -> None:
    """Both runs were held to the same rows."""
    worse, better = (
        make_run("20260101-000000-a", start_loss=3.0),
        make_run("20260102-000000-b", start_loss=2.0),
    )
    results = rows(compare(worse, better), "results")
    assert results["best validation loss"].better == "right"
    assert results["loss"].better == ""  # of training rows: less may be worse
    assert rows(compare(better, worse), "results")["best validation loss"].better == "left"


def test_different_validation_rows_name_no_better_loss(ft_home: Path) -> None:
    left = make_run("20260101-000000-a")
    other_data = {"data": {"examples": 280, "fingerprint": "e" * 64}}
    right = make_run("20260102-000000-b", start_loss=2.0, provenance=other_data)
    found = compare(left, right)
    assert "validation rows differ" in found.cautions[0]
    assert rows(found, "results")["best validation loss"].better == ""


def test_listed_runs_are_compared_without_reading_again(ft_home: Path) -> None:
    runs = make_run("20260101-000000-a"), make_run("20260102-000000-b", start_loss=2.0)
    right, left = Index().refresh()
    before = comparing.compare(left, right)
    for run in runs:
        run.events_file.unlink()
    assert comparing.compare(left, right) == before
    assert rows(before, "results")["best validation loss"].better == "right"


def test_steps_superseded_by_resume_do_not_count(ft_home: Path) -> None:
    whole = make_run("20260101-000000-a", steps=20)
    resumed = make_run("20260102-000000-b", steps=20, end=None)
    resumed.emit(Started(t=STARTED + 100, run=resumed.id, pid=2, resumed_from=10))
    for number in range(11, 21):
        resumed.emit(step(number, 1.0, 20, t=STARTED + 100 + number))
    results = {row.key: row for row in compare(whole, resumed).sections["results"]}
    assert results["trained tokens"].same
    assert results["best step"].right == 10


@pytest.mark.parametrize("gone", ["events.jsonl", "train.yml", "provenance.json", "plan.json", "all"])
def test_a_damaged_run_can_be_compared_too(ft_home: Path, gone: str) -> None:
    left, right = make_run("20260101-000000-a"), make_run("20260102-000000-b")
    for name in [gone] if gone != "all" else [path.name for path in right.folder.iterdir()]:
        path = right.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.write_bytes(b"\xff\0")
    found = compare(left, right)
    assert found.sections["results"]
    json.dumps(found.to_json())


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("process peak bytes", 1_689_927_680, "1.69 GB"),
        ("data.fingerprint", "0ff81399715605cb", "0ff813997156"),
        ("training.learning_rate", 1e-4, "0.0001"),
        ("packing", True, "yes"),
        ("evaluation.samples", [], "none"),
        ("evaluation.samples", ["a\nb", "c"], "a b, c"),
        ("data.train", {"path": "x.jsonl"}, "path: x.jsonl"),
        ("best validation loss", None, "–"),
        ("loss", float("nan"), "nan"),
    ],
)
def test_compared_values_are_written_for_people(key: str, value: Any, text: str) -> None:
    assert written(key, value) == text


def test_runs_compare_prints_sides_and_json(ft_home: Path) -> None:
    make_run("20260101-000000-a", lr=1e-3)
    make_run("20260102-000000-b", lr=2e-4)
    done = ft("runs", "compare", "20260101", "20260102")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "training.learning_rate" in line]
    assert line.split() == ["training.learning_rate", "0.001", "0.0002"]
    assert "training.scheduler" not in done.stdout
    assert "training.scheduler" in ft("runs", "compare", "20260101", "20260102", "--all").stdout
    body = json.loads(ft("runs", "compare", "20260101", "20260102", "--json").stdout)
    assert (body["left"], body["right"]) == ("20260101-000000-a", "20260102-000000-b")
    assert body["sections"]["recipe"]


def test_runs_list_filter_points_at_mistake(ft_home: Path) -> None:
    make_run("20260101-000000-sql", lr=1e-3)
    recipe = make_run("20260102-000000-chat", lr=2e-4).folder / "train.yml"
    recipe.write_text(recipe.read_text().replace("tags: []", "tags: [tried]"))
    done = ft("runs", "list", "--filter", "lr>5e-4 tag:sql", "--json")
    assert [run["id"] for run in json.loads(done.stdout)] == ["20260101-000000-sql"]
    (tagged,) = json.loads(ft("runs", "list", "--filter", "tag:tried", "--json").stdout)
    assert (tagged["id"], tagged["tags"]) == ("20260102-000000-chat", ["tried"])
    wrong = ft("runs", "list", "--filter", "name:sql los<1")
    assert wrong.returncode == ConfigError.exit_code
    message, text, pointer = wrong.stderr.splitlines()[:3]
    assert "no field 'los'" in message
    assert text[pointer.index("^") : pointer.rindex("^") + 1] == "los"
    none = ft("runs", "list", "--filter", "nothing-like-it")
    assert (none.returncode, none.stdout) == (0, "")
    assert "(2 runs)" in none.stderr


def test_forked_recipe_keeps_comments_and_used_values(ft_home: Path) -> None:
    run = make_run("20260101-000000-sql")
    source = (run.folder / "source.yml").read_text().replace("train: starter", "train: rows.jsonl  # mine")
    (run.folder / "source.yml").write_text(source + "output:\n  dir: elsewhere\n")
    used = load_text(source, Path("/recipes/train.yml"), ["training.max_steps=7"]).resolved()
    (run.folder / "train.yml").write_text(used)
    text = fork_text(run.folder, {"sql"})
    assert "# mine" in text
    assert "# a recipe with a comment" in text
    body = yaml.safe_load(text)
    assert body["name"] == "sql-2"
    assert body["data"]["train"] == "/recipes/rows.jsonl"
    assert body["training"]["max_steps"] == 7
    assert not (body.get("output") or {}).get("dir")
    forked, original = load_text(text, Path("/x/train.yml")).config, load_text(used, Path("/y")).config
    assert forked.model_copy(update={"name": "sql"}) == original


def test_continued_recipe_leaves_settings_to_adapter(ft_home: Path) -> None:
    run = make_run("20261121-101500-sql", rank=8)
    source = (run.folder / "source.yml").read_text()
    text = continued_text(run.folder, run.id, {"sql"})
    config = load_text(text, Path("/x/train.yml")).config
    assert (config.name, config.adapter.from_) == ("sql-2", run.id)
    assert config.adapter.model_fields_set <= {"from_"}
    assert "# a recipe with a comment" in text
    (run.folder / "source.yml").write_text(source.replace("rank: 8", "type: none"))
    recipe = run.folder / "train.yml"
    recipe.write_text(recipe.read_text().replace("type: lora", "type: none"))
    full = load_text(continued_text(run.folder, run.id, ()), Path("/x/train.yml")).config
    assert full.model.base == str(run.folder / "model")
    recipe.write_text(recipe.read_text().replace("type: none", "type: adalora"))
    with pytest.raises(ConfigError, match="adalora"):
        continued_text(run.folder, run.id, ())


def test_fork_gets_its_own_run_folder(ft_home: Path) -> None:
    run = make_run("20260101-000000-sql")
    source = (run.folder / "source.yml").read_text()
    used = load_text(source, Path("/recipes/train.yml"), ["output.dir=/elsewhere"]).resolved()
    (run.folder / "train.yml").write_text(used)
    assert load_text(fork_text(run.folder, ()), Path("/x/train.yml")).config.output.dir is None


def test_fork_without_source_uses_resolved_recipe(ft_home: Path) -> None:
    run = make_run("20260101-000000-sql", lr=5e-4)
    (run.folder / "source.yml").unlink()
    assert yaml.safe_load(fork_text(run.folder, ()))["training"]["learning_rate"] == 5e-4
    (run.folder / "train.yml").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        fork_text(run.folder, ())


@pytest.mark.parametrize(
    ("name", "taken", "free"),
    [
        ("sql", {"sql"}, "sql-2"),
        ("sql", {"sql", "sql-2", "sql-3"}, "sql-4"),
        ("sql-2", {"sql-2"}, "sql-3"),
        ("llama-3-8b", set(), "llama-3-8b-2"),
        ("x" * 64, set(), "x" * 62 + "-2"),
    ],
)
def test_fork_gets_next_free_run_name(name: str, taken: set[str], free: str) -> None:
    assert free_name(name, taken) == free


def test_nan_in_both_runs_is_no_difference(ft_home: Path) -> None:
    runs: list[Run] = []
    for day in (1, 2):
        run = make_run(f"2026010{day}-000000-a", steps=2, end=None)
        run.emit(step(3, float("nan")))
        run.emit(Eval(t=STARTED, step=3, loss=float("nan"), perplexity=float("nan")))
        runs.append(run)
    row = next(row for row in compare(*runs).sections["results"] if row.key == "loss")
    assert row.same


def exported(run: Run, out: Path, proof: dict[str, Any] | None) -> None:
    """A completed `ft export` of a run, as it would lie there."""
    out.mkdir()
    job = create_job(
        "export", "export-gguf", {"model": run.id, "exporter": "gguf", "out": str(out), "options": {}}
    )
    job.emit(Finished(reason="completed", step=0))
    if proof:
        (job.folder / "proof.json").write_text(json.dumps(proof))


def two_runs() -> tuple[Run, Run]:
    return make_run("20260101-000000-a"), make_run("20260102-000000-b")


def test_scores_of_evaluations_stand_side_by_side_with_intervals(ft_home: Path) -> None:
    left, right = two_runs()
    evaluated(left, 0.25, "/rows/test.jsonl")
    evaluated(left, 0.375, "/rows/test.jsonl")  # the later one counts
    evaluated(right, 0.75, "/rows/test.jsonl")
    evaluated(right, 0.625, "/rows/other.jsonl")
    scores = rows(compare(left, right), "scores")
    row = scores["exact_match on test.jsonl"]
    assert (row.left, row.right, row.better, row.overlap) == (0.375, 0.75, "right", False)
    assert comparing.side_text(row, "left") == "37.5% (25.0% to 50.0%)"
    alone = scores["exact_match on other.jsonl"]
    assert (alone.left, alone.right, alone.better) == (None, 0.625, "")
    assert scores["validation loss on test.jsonl"].same
    done = ft("runs", "compare", left.id, right.id)
    assert "75.0% (62.5% to 87.5%) (better)" in done.stdout, done.stderr


def test_scores_whose_intervals_overlap_are_not_told_apart(ft_home: Path) -> None:
    left, right = two_runs()
    evaluated(left, 0.5, "/rows/test.jsonl")
    evaluated(right, 0.625, "/rows/test.jsonl")
    evaluated(left, 0.5, "/rows/met.jsonl")
    evaluated(right, 0.75, "/rows/met.jsonl")  # both intervals have 62.5%
    evaluated(left, 0.5, "/rows/same.jsonl")
    evaluated(right, 0.5, "/rows/same.jsonl")
    for pair in ((left, right), (right, left)):
        scores = rows(compare(*pair), "scores")
        for name in ("test", "met"):
            row = scores[f"exact_match on {name}.jsonl"]
            assert (row.better, row.overlap) == ("", True)
        assert not scores["exact_match on same.jsonl"].overlap, "there is no difference to tell"
    done = ft("runs", "compare", left.id, right.id)
    (line,) = [line for line in done.stdout.splitlines() if "on test.jsonl" in line and "50.0%" in line]
    assert line.split()[:6] == ["exact_match", "on", "test.jsonl", "(not", "told", "apart)"], done.stdout
    assert "(better)" not in line
    body = json.loads(ft("runs", "compare", left.id, right.id, "--json").stdout)
    (row,) = [row for row in body["sections"]["scores"] if row["key"] == "exact_match on test.jsonl"]
    assert (row["better"], row["overlap"]) == ("", True)


def test_score_without_interval_is_still_the_better(ft_home: Path) -> None:
    """As of an evaluation of one row, or by an ft that wrote no intervals."""
    left, right = two_runs()
    job = evaluated(left, 0.5, "/rows/test.jsonl")
    evaluated(right, 0.5625, "/rows/test.jsonl")
    written = json.loads((job.folder / "evaluation.json").read_text())
    written["metrics"]["exact_match"]["interval"] = None
    (job.folder / "evaluation.json").write_text(json.dumps(written))
    row = rows(compare(left, right), "scores")["exact_match on test.jsonl"]
    assert (row.better, row.overlap) == ("right", False)


def test_scores_on_rows_that_changed_in_between_name_no_better(ft_home: Path) -> None:
    left, right = two_runs()
    evaluated(left, 0.25, "/rows/test.jsonl")
    evaluated(right, 0.75, "/rows/test.jsonl", fingerprint="e" * 64)
    assert rows(compare(left, right), "scores")["exact_match on test.jsonl"].better == ""


def test_scores_a_token_of_other_bases_name_no_better(ft_home: Path) -> None:
    left = make_run("20260101-000000-a")
    right = make_run("20260102-000000-b", provenance={"model": {"name": "starter", "fingerprint": "n" * 64}})
    job = evaluated(left, 0.25, "/rows/test.jsonl")
    job.emit(Eval(step=20, loss=2.0, perplexity=7.4, metrics={"exact_match": 0.25}))
    job.emit(Finished(reason="completed", step=20))
    evaluated(right, 0.75, "/rows/test.jsonl", fingerprint="e" * 64)
    scores = rows(compare(left, right), "scores")
    assert scores["validation loss on test.jsonl"].better == ""
    assert scores["exact_match on test.jsonl"].better == "right"


def test_answers_to_the_same_prompt_stand_side_by_side(ft_home: Path) -> None:
    left, right = two_runs()
    for run, text in ((left, "old"), (left, "a cat"), (right, "a dog")):
        run.emit(Sample(step=20, prompt="What is it?", text=text))
        run.emit(Sample(step=20, prompt="Same?", text="yes"))
    left.emit(Sample(step=20, prompt="Only here?", text="yes"))
    left.emit(Sample(step=40, prompt="Same?", text="of a step that was taken back"))
    evaluated(left, 0.5, None)
    evaluated(right, 0.5, None)
    found = compare(left, right)
    answers = {row.key: (row.left, row.right) for row in found.sections["answers"]}
    assert answers == {
        "What is it?": ("a cat", "a dog"),
        "Same?": ("yes", "yes"),
        "Two teas": ("answer of 20260101-000000-a", "answer of 20260102-000000-b"),
    }
    assert "Same?" not in {row.key for row in found.different()["answers"]}


def test_exports_of_both_say_what_was_proved(ft_home: Path, tmp_path: Path) -> None:
    left, right = two_runs()
    exported(left, tmp_path / "one", {"passed": True, "top1": 0.998, "kl_mean": 0.0012})
    exported(right, tmp_path / "two", None)
    exported(right, tmp_path / "gone", None)
    (tmp_path / "gone").rmdir()
    row = rows(compare(left, right), "exports")["gguf"]
    assert row.left == f"proved, top-1 99.8%, KL 0.0012: {tmp_path / 'one'}"
    assert row.right == f"not proved: {tmp_path / 'two'}"


def test_damaged_evaluation_is_absent_from_the_comparison(ft_home: Path) -> None:
    left, right = two_runs()
    job = evaluated(left, 0.5, None)
    (job.folder / "evaluation.json").write_text("{")
    (job.folder / "rows.jsonl").write_text('{"prompt": 3}\n[')
    row = rows(compare(left, right), "scores")["exact_match on own validation rows"]
    assert (row.left, row.left_interval, row.right) == (0.5, None, None)
