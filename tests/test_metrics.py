"""Metrics: how they are written and compared, and one that another package brings by an entry point."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.load import load_text
from engine.config.problems import RecipeError
from engine.metrics import registry
from engine.metrics.base import Metric, Results
from engine.runs.directory import events as ev
from engine.runs.directory.event_text import scores
from engine.runs.directory.result import Result
from engine.runs.directory.state import fold
from ft import run_text
from tests.training import recipe_text, write_rows

ROOT = Path(__file__).parents[1]
METADATA = "Metadata-Version: 2.1\nName: ft-length\nVersion: 1.0\n"
ENTRY_POINTS = (
    "[ft.metrics]\nsaid_length = ft_length:metric\nbroken = ft_length:nothing\nwrong = ft_length:length\n"
)
MODULE = """
from engine.metrics.base import Metric


def length(results):
    assert len(results.log_probabilities) > len(results.answers)
    return sum(map(len, results.answers)) / len(results.answers)


metric = Metric(
    "said_length", "answer length", format="decimal", unit="characters", better="lower",
    needs=frozenset({"answers", "log_probabilities"}), compute=length,
)
"""
RUN = "import sys; from ft.cli import main; sys.exit(main(sys.argv[1:]))"


def test_every_built_in_metric_is_registered() -> None:
    """Under the name of its module."""
    assert set(registry.own()) >= {
        "loss",
        "lr",
        "grad_norm",
        "tokens_per_s",
        "eval_loss",
        "perplexity",
        "exact_match",
    }
    assert set(registry.computed()) >= {"exact_match", "perplexity", "bleu", "f1", "tool_calls"}
    assert not {"loss", "eval_loss"} & set(registry.computed()), "there is nothing to ask for"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("eval_loss", 1.5, "validation loss 1.5000"),
        ("perplexity", 4.481, "perplexity 4.48"),
        ("exact_match", 0.125, "exact_match 12.5%"),
        ("lr", 2e-4, "learning rate 2.00e-04"),
        ("tokens_per_s", 350.4, "speed 350 tokens/s"),
        ("unheard_of", 0.12345678, "unheard_of 0.12346"),
        ("unheard_of", math.nan, "unheard_of nan"),
    ],
)
def test_metric_value_is_written_with_unit(name: str, value: float, text: str) -> None:
    assert registry.written(name, value) == text


def test_better_follows_metrics_direction() -> None:
    lower, higher, neither = registry.describe("eval_loss"), registry.describe("exact_match"), Metric("x")
    assert lower.improves(1.0, 2.0)
    assert not lower.improves(2.0, 2.0)
    assert higher.improves(2.0, 1.0)
    assert lower.improves(1.0, None)
    assert lower.improves(1.0, math.nan)
    assert not any(metric.improves(math.nan, None) for metric in (lower, higher))
    assert not neither.improves(1.0, 2.0)


def test_exact_match_ignores_surrounding_white_space() -> None:
    results = Results(answers=[" fox\n", "Fox", "dog"], references=["fox", "fox", "dog "])
    assert registry.load("exact_match").compute is not None
    assert registry.load("exact_match").compute(results) == pytest.approx(2 / 3)  # type: ignore[misc]


def evaluation(step: int, loss: float, right: float, best: bool = False) -> ev.Eval:
    return ev.Eval(
        step=step, loss=loss, perplexity=math.exp(loss), metrics={"exact_match": right}, best=best,
        best_by="exact_match",
    )  # fmt: skip


def test_best_checkpoint_follows_recipes_metric(tmp_path: Path) -> None:
    """The answers get worse from step 10 to 20, while the loss gets better."""
    told = [
        ev.Started(run="r", pid=1),
        evaluation(0, 3.0, 0.0),
        evaluation(10, 2.0, 0.8, best=True),
        evaluation(20, 1.0, 0.5),
        ev.Saved(step=20, path="adapter", kind="adapter"),
        ev.Finished(reason="completed", step=20),
    ]
    state = fold(told, alive=False)
    assert (state.best, state.best_step, state.best_metric) == (0.8, 10, "exact_match")
    assert (state.published, state.published_loss, state.published_score) == (20, 1.0, 0.5)
    (tmp_path / "adapter").mkdir()
    result = Result.of(tmp_path, state)
    assert result is not None
    assert result.better is not None
    (line,) = run_text.better(result)
    assert line.startswith("Step 10 was better (exact_match 80.0%)")


def test_evaluation_shows_unknown_metrics_too() -> None:
    """As another version may have written."""
    event = ev.Eval(step=5, loss=1.0, perplexity=math.e, metrics={"meteor": 0.25})
    assert scores(event) == "validation loss 1.0000  perplexity 2.72  meteor 0.25"


def test_best_checkpoint_needs_evaluated_metric(tmp_path: Path) -> None:
    recipe = "model: {base: starter}\ndata: {train: starter}\ncheckpoints: {best: exact_match}\n"
    with pytest.raises(RecipeError, match=r"exact_match is not evaluated; add it to evaluation\.metrics"):
        load_text(recipe, tmp_path / "train.yml")
    load_text(recipe + "evaluation: {metrics: [exact_match]}\n", tmp_path / "train.yml")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder of packages with ft-length in it, as pip lays it out."""
    folder = tmp_path / "packages"
    facts = folder / "ft_length-1.0.dist-info"
    facts.mkdir(parents=True)
    (folder / "ft_length.py").write_text(MODULE)
    (facts / "METADATA").write_text(METADATA)
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def ft(home: Path, *arguments: str, packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [*([str(packages)] if packages else []), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"FT_HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-P", "-c", RUN, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_plugin_metric_selects_best_checkpoint(packages: Path, tiny_model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "train.yml"
    recipe.write_text(
        recipe_text(
            tiny_model,
            write_rows(tmp_path),
            evaluation={"metrics": ["said_length"], "every": 2, "samples": []},
            checkpoints={"best": "said_length", "every": 2},
        )
    )
    home, folder = tmp_path / "home", tmp_path / "run"
    done = ft(home, "train", str(recipe), "--run-dir", str(folder), "--plain", packages=packages)
    assert done.returncode == 0, done.stderr
    assert "answer length" in done.stderr, done.stderr
    events = [ev.decode(line + b"\n") for line in (folder / "events.jsonl").read_bytes().splitlines()]
    evals = [event for event in events if isinstance(event, ev.Eval)]
    after = {event.step: event.metrics["said_length"] for event in evals if event.step > 0}
    assert {event.best_by for event in evals} == {"said_length"}
    best = min(after, key=lambda step: (after[step], step))
    assert (folder / "checkpoints" / "best").read_text().strip() == f"step-{best:06d}"

    shown = json.loads(ft(home, "runs", "show", str(folder), "--json").stdout)  # without the package
    assert shown["best_metric"] == "said_length"
    assert "said_length" in ft(home, "runs", "show", str(folder)).stdout


def test_package_missing_its_metric_is_named(packages: Path) -> None:
    code = (
        "from engine.metrics import registry\n"
        "try: registry.load({!r})\n"
        "except Exception as error: print(type(error).__name__, error, error.hint)"
    )
    for name, told in (
        ("broken", "Install the package ft-length again, or leave broken out."),
        ("wrong", "not an engine.metrics.base.Metric"),
    ):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)])}
        done = subprocess.run(
            [sys.executable, "-P", "-c", code.format(name)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.startswith("MachineError evaluation.metrics: "), done.stderr
        assert told in done.stdout
