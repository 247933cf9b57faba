"""The best of a run whose recipe names another metric than the validation loss: written, ordered, found and compared
by that metric."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.runs.curves.series import RunSeries
from engine.runs.directory import events as ev
from engine.runs.directory.state import RunState
from engine.runs.index import compare as comparing
from engine.runs.index.filter import FilterError, compile_filter
from engine.runs.index.index import summary_of
from engine.runs.index.summary import RunSummary
from ft.cli import main
from screens.monitor import status
from screens.monitor.run_view import RunView
from screens.runs.details import described
from screens.runs.order import order_text, ordered
from screens.runs.suggester import FilterSuggester
from tests.run_fixtures import STARTED, make_run

EXACT = (0.25, 0.8, 0.5)
"""exact_match at the steps 10, 20 and 30: the best is not the last, which has the lowest loss."""


def listed(name: str, best: float | None, metric: str = "eval_loss") -> RunSummary:
    """A run as the list has it."""
    state = RunState(best=best, best_metric=metric)
    return RunSummary(name, Path("/runs", name), name, STARTED, False, state)


def names(runs: list[RunSummary]) -> list[str]:
    return [run.name for run in runs]


def test_order_by_best_keeps_metrics_apart() -> None:
    """Each has its own direction; the newest comes first where neither direction is better."""
    runs = [
        listed("unknown-newer", 3.0, "helpfulness"),
        listed("right-half", 0.5, "exact_match"),
        listed("loss-high", 2.0),
        listed("unscored", None, "exact_match"),
        listed("unknown-older", 4.0, "helpfulness"),
        listed("loss-low", 0.9),
        listed("right-most", 0.8, "exact_match"),
        listed("no-number", float("nan"), "helpfulness"),
    ]
    assert names(ordered(runs, "best")) == [
        *("loss-low", "loss-high", "right-most", "right-half", "unknown-newer", "unknown-older"),
        *("unscored", "no-number"),
    ]
    assert order_text("best", runs) == "best of each metric"
    assert order_text("best", runs[1:2]) == "best"
    assert order_text("loss", runs) == "loss"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("best<1.2", ["loss"]),
        ("best>0", ["loss", "high-loss"]),
        ("best.eval_loss<1.2", ["loss"]),
        ("best.exact_match>0.5", ["right"]),
        ("best.exact_match>=80%", ["right"]),
        ("best.perplexity<100", []),
    ],
)
def test_filter_by_best_means_one_metric(text: str, found: list[str]) -> None:
    runs = [listed("loss", 0.9), listed("high-loss", 2.0), listed("right", 0.8, "exact_match")]
    assert names([run for run in runs if compile_filter(text)(run)]) == found


def test_filter_takes_percent_of_numbers_alone() -> None:
    with pytest.raises(FilterError, match="'2%' is not a time"):
        compile_filter("age<2%")


async def test_filter_proposes_metrics_that_runs_have() -> None:
    suggester = FilterSuggester(lambda: [listed("a", 0.9), listed("b", 0.8, "exact_match")])
    assert await suggester.get_suggestion("lr>1e-4 bes") == "lr>1e-4 best"
    assert await suggester.get_suggestion("-best") == "-best.exact_match"
    assert await FilterSuggester(lambda: [listed("a", 0.9)]).get_suggestion("best") is None


def test_runs_list_writes_best_by_its_metric(
    ft_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    loss = make_run("20260101-000000-by-loss", steps=30)
    assert main(["runs", "list"]) == 0
    title, row = capsys.readouterr().out.splitlines()
    assert "best validation loss" in title
    assert f"   {loss.state().best:.4f}   " in row
    right = make_run("20260102-000000-by-right", steps=30, exact=EXACT)
    assert main(["runs", "list"]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert re.search(r"loss +best +age", title)
    assert "exact_match 80.0%" in rows[0]
    assert f"validation loss {loss.state().best:.4f}" in rows[1]
    assert main(["runs", "list", "--json"]) == 0
    bodies = {body["id"]: body for body in json.loads(capsys.readouterr().out)}
    shown = [bodies[right.id][key] for key in ("best", "best_step", "best_metric")]
    assert shown == [0.8, 20, "exact_match"]
    assert bodies[loss.id]["best_metric"] == "eval_loss"


def test_run_details_name_metric_of_best(ft_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So do those of its result, and of the checkpoint that is better."""
    run = make_run("20260102-000000-by-right", steps=30, exact=EXACT, end=None)
    for folder in (run.folder, run.checkpoints / "step-000020"):
        (folder / "adapter").mkdir(parents=True)
    run.emit(ev.Saved(t=STARTED + 30, step=30, path="adapter", kind="adapter"))
    run.emit(ev.Finished(t=STARTED + 31, reason="early_stopping", step=30))
    summary = summary_of(run)
    details = described(summary, {}).plain
    loss = run.evaluations()[-1].loss
    assert "completed early: the exact_match stopped improving" in details
    assert "best    80.0% exact_match, step 20\n" in details
    assert f"result  adapter of step 30, the last: 50.0% exact_match, {loss:.3f} validation loss\n" in details
    assert "better  80.0% exact_match, step-000020\n" in details
    assert "best 80.0% exact_match, step 20" in described(summary, {}, short=True).plain
    by_loss = summary_of(make_run("20260101-000000-by-loss", steps=30))
    assert f"best    {by_loss.state.best:.3f} validation loss, step 30\n" in described(by_loss, {}).plain

    assert main(["runs", "show", run.id]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"(step 30, the last, exact_match 50.0%, validation loss {loss:.4f})" in told
    assert "Step 20 was better (exact_match 80.0%)" in told


def test_monitor_status_names_metric_of_best(ft_home: Path) -> None:
    view = view_of(*make_run("20260102-000000-by-right", steps=30, exact=EXACT).events())
    assert "◆ best exact_match 80.0% @20" in status.results(view, 200).plain
    view = view_of(*make_run("20260101-000000-by-loss", steps=30).events())
    assert f"◆ best {view.state.best:.3f} @30" in status.results(view, 200).plain


def view_of(*events: ev.Event) -> RunView:
    view = RunView(run_id="r")
    for event in events:
        view.take(event)
    return view


def test_best_of_undirected_metric_has_validation_loss() -> None:
    """Its package is not here, so that only the engine's word says which one is the best."""
    told = ev.Eval(
        step=10, loss=2.0, perplexity=7.4, metrics={"helpfulness": 0.5}, best=True, best_by="helpfulness"
    )
    view = view_of(ev.Started(run="r", pid=1), told, replace(told, step=20, loss=1.5))
    assert (view.state.best, view.state.best_step, view.loss_of_best) == (0.5, 20, 1.5)
    assert RunView(run_id="r").loss_of_best is None


def test_best_mark_is_labelled_by_its_metric() -> None:
    series = RunSeries()
    series.feed(ev.Started(t=0, run="r", pid=1))
    told = ev.Eval(t=1, step=10, loss=2.0, perplexity=7.4, best=True)
    series.feed(told)
    assert series.marks[-1].label == "best 2"
    series.feed(replace(told, best_by="exact_match", metrics={"exact_match": 0.8}))
    assert series.marks[-1].label == "best exact_match 80.0%"
    series.feed(replace(told, best_by="perplexity"))
    assert series.marks[-1].label == "best perplexity 7.40"


def test_compared_scores_are_in_their_own_format(
    ft_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    left = make_run("20260101-000000-a", steps=30, exact=EXACT)
    right = make_run("20260102-000000-b", steps=30, exact=(0.5, 0.6, 0.6))
    found = comparing.compare(summary_of(left), summary_of(right))
    row = next(row for row in found.sections["results"] if row.key == "best validation exact match")
    assert (row.left, row.right, row.better, row.metric) == (0.8, 0.6, "left", "exact_match")
    assert main(["runs", "compare", left.id, right.id]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "best validation" in line]
    assert re.search(r"80\.0% \(better\) +60\.0%$", line.rstrip())
