"""Jobs that follow training, started from Runs: chosen, their options asked for, done; evaluations paged through."""

import json
from pathlib import Path

import pytest
from textual.widgets import DataTable, Input, Static

from engine import paths
from engine.errors import ConfigError
from engine.evaluation.files import RESULT, ROWS
from engine.export.output import read_mark
from engine.runs.directory.create_job import create_job
from engine.runs.directory.run import Run
from screens.runs.evaluations import EvaluationsSheet
from screens.use.dialog import Choice, PickUse, UseForm
from screens.use.uses import USES
from tests.hub_uploads import UploadHub
from tests.run_fixtures import make_run
from tests.runs_screen_pilot import Seen, runs_screen
from tests.serving import make_adapter
from tests.test_evaluate_command import train
from tests.test_push import PUSHED, REPO, result_run

RESULT_OF_TWO = {
    "model": "sql",
    "against": "base",
    "texts": 3,
    "prompts": 3,
    "differ_by": "exact_match",
    "metrics": {
        "exact_match": {
            "title": "exact match",
            "value": 2 / 3,
            "interval": [0.33, 1.0],
            "against": 0.0,
            "difference": {"value": 2 / 3, "low": 0.33, "high": 1.0, "p": 0.01, "rows": 3},
        }
    },
    "lacking": {"bleu": "no answer has four words"},
}


def form(seen: Seen) -> UseForm:
    screen = seen.app.screen
    assert isinstance(screen, UseForm)
    return screen


def said(seen: Seen, selector: str) -> str:
    return str(seen.app.screen.query_one(selector, Static).render())


async def asked_for(seen: Seen, name: str) -> UseForm:
    """The form of a use, opened by its name."""
    await seen.press("u")
    await seen.until(lambda: isinstance(seen.app.screen, PickUse))
    await seen.press(*name, "enter")
    await seen.until(lambda: isinstance(seen.app.screen, UseForm))
    return form(seen)


async def ended(seen: Seen, kind: str) -> Run:
    """The run of this kind of job, once it has ended."""
    await seen.until(lambda: any(run.kind == kind for run in Run.all()))
    run = next(run for run in Run.all() if run.kind == kind)
    for _ in range(600):  # as long as it takes on a busy machine
        if run.state().status not in ("new", "running"):
            break
        await seen.pilot.pause(0.5)
    return run


async def test_uses_of_a_run_are_offered_with_their_options(ft_home: Path) -> None:
    make_run("20260103-000000-sql", steps=3)
    async with runs_screen(1) as seen:
        for use in USES:
            shown = await asked_for(seen, use.name)
            assert [widget.id for widget in shown.query(".option > Input, .option > Select")] == [
                option.name for option in use.options
            ]
            await seen.press("escape")
            await seen.until(lambda: not isinstance(seen.app.screen, UseForm))
        assert seen.app.asked == []


async def test_wrong_option_is_explained_and_stays(ft_home: Path) -> None:
    make_run("20260103-000000-sql", steps=3)
    async with runs_screen(1) as seen:
        shown = await asked_for(seen, "serve")
        shown.query_one("#port", Input).value = "many"
        await seen.press("enter")
        await seen.until(lambda: "not a whole number" in said(seen, "#help"))
        assert form(seen).query_one("#port", Input).value == "many"
        assert [run.kind for run in Run.all()] == ["train"]


async def test_first_letters_of_a_name_find_it(ft_home: Path) -> None:
    """`mer` is in `transformers` too, which is said of the export."""
    make_run("20260103-000000-sql", steps=3)
    async with runs_screen(1) as seen:
        assert (await asked_for(seen, "mer")).use.name == "merge"


async def test_choice_is_turned_by_arrows_and_enter_starts_from_it(ft_home: Path) -> None:
    """A push without a repository is refused, so enter on the choice was the form's."""
    make_run("20260103-000000-sql", steps=3)
    async with runs_screen(1) as seen:
        shown = await asked_for(seen, "push")
        await seen.press("down")
        choice = shown.query_one("#public", Choice)
        assert shown.focused is choice
        await seen.press("right")
        assert choice.value == "yes"
        await seen.press("right", "left", "left")
        assert choice.value == "no"
        await seen.press("enter")
        await seen.until(lambda: "repository is missing" in said(seen, "#help"))


def values(name: str, **typed: str) -> dict[str, str]:
    """The form of a use as it stands, with what is typed."""
    use = next(use for use in USES if use.name == name)
    return {option.name: option.choices[0] if option.choices else "" for option in use.options} | typed


def test_exports_of_one_model_get_folders_of_their_own(ft_home: Path, tmp_path: Path) -> None:
    run = result_run("20260103-000000-sql")
    export = next(use for use in USES if use.name == "export")
    first = Run.open(export.create(str(run.folder), values("export", quantize="q8_0")).id)
    assert Path(first.job["out"]) == paths.home() / "exports" / "gguf-q8_0-sql"
    assert first.id.endswith("-export-gguf-q8_0-sql")
    Path(first.job["out"]).mkdir(parents=True)
    second = export.create(str(run.folder), values("export", quantize="q8_0"))
    assert Path(second.job["out"]).name == "gguf-q8_0-sql-2"
    with pytest.raises(ConfigError, match="exists already"):
        export.create(str(run.folder), values("export", folder=str(tmp_path)))


def test_several_adapters_are_merged_with_the_weights_that_are_typed(
    tiny_model: Path, tmp_path: Path
) -> None:
    first, second = (make_adapter(tiny_model, tmp_path / name, seed) for seed, name in enumerate("ab"))
    merge = next(use for use in USES if use.name == "merge")
    typed = values("merge", others=f" {second} ,", weights="0.7, 0.3", method="linear")
    assert merge.create(str(first), typed).job["options"] == {
        "dtype": "source", "models": [str(second)], "weights": [0.7, 0.3], "method": "linear"
    }  # fmt: skip
    for name, wrong in {"others": "nobody", "weights": "0.7", "method": "mean"}.items():
        with pytest.raises(ConfigError):
            merge.create(str(first), typed | {name: wrong})


async def test_what_trained_nothing_cannot_be_used(ft_home: Path) -> None:
    create_job("evaluate", "evaluate-sql", {})
    async with runs_screen(1) as seen:
        await seen.press("u")
        await seen.until(lambda: seen.app.problems)
        assert "trained nothing" in seen.app.problems[-1].message


@pytest.mark.slow
async def test_evaluation_is_started_from_runs_and_its_rows_are_shown(tiny_model: Path, folder: Path) -> None:
    run = train(tiny_model, folder)
    async with runs_screen(1) as seen:
        shown = await asked_for(seen, "evaluate")
        shown.query_one("#max_questions", Input).value = "4"
        shown.query_one("#against").value = "base"  # type: ignore[attr-defined]
        shown.query_one("#data").focus()
        await seen.press("enter")
        evaluation = await ended(seen, "evaluate")
        assert evaluation.state().status == "completed"
        await seen.until(lambda: len(seen.app.runs) == 2)
        seen.screen.table.cursor = [one.id for one in seen.screen.table.rows].index(run.id)
        await seen.press("E")
        await seen.until(lambda: isinstance(seen.app.screen, EvaluationsSheet))
        await seen.until(lambda: seen.app.screen.query_one(DataTable).row_count)
        assert seen.app.screen.query_one(DataTable).row_count >= 4
        assert "expected" in said(seen, "#row")


@pytest.mark.slow
async def test_two_adapters_become_one_model_from_runs(
    tiny_model: Path, folder: Path, tmp_path: Path
) -> None:
    train(tiny_model, folder)
    other = make_adapter(tiny_model, tmp_path / "other", 1)
    async with runs_screen(1) as seen:
        shown = await asked_for(seen, "merge")
        shown.query_one("#others", Input).value = str(other)
        shown.query_one("#prove").value = "no"  # type: ignore[attr-defined]
        shown.query_one("#weights").focus()
        await seen.press("enter")
        job = await ended(seen, "export")
    assert job.state().status == "completed"
    mark = read_mark(Path(job.job["out"]))
    assert mark is not None
    assert mark["facts"]["weights"] == [0.5, 0.5]


@pytest.mark.slow
async def test_run_is_pushed_from_runs_to_a_hub(upload_hub: UploadHub, ft_home: Path) -> None:
    result_run()
    async with runs_screen(1) as seen:
        shown = await asked_for(seen, "push")
        shown.query_one("#to", Input).value = REPO
        shown.query_one("#message", Input).value = "First orders"
        shown.query_one("#to").focus()
        await seen.press("enter")
        job = await ended(seen, "push")
    assert job.state().status == "completed"
    assert upload_hub.repos[REPO].private
    assert set(upload_hub.files(REPO)) == PUSHED
    assert [message for *_, message in upload_hub.repos[REPO].commits] == ["First orders"]


def stored_evaluation(of: Run) -> Run:
    """An evaluation of a run against its base, as the job leaves it."""
    run = create_job("evaluate", "evaluate-sql", {"model": str(of.folder)})
    rows = [
        {
            "where": f"rows.jsonl:{number}",
            "prompt": f"question {number}",
            "reference": "yes",
            "answers": {"model": "yes", "against": answer},
            "scores": {"exact_match": {"model": 1.0, "against": float(answer == "yes")}},
        }
        for number, answer in enumerate(["yes", "no", "yes"], 1)
    ]
    (run.folder / RESULT).write_text(json.dumps(RESULT_OF_TWO))
    (run.folder / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


async def test_rows_that_differ_most_can_come_first(ft_home: Path) -> None:
    stored_evaluation(make_run("20260103-000000-sql", steps=3))
    async with runs_screen(2) as seen:
        seen.screen.table.cursor = [one.kind for one in seen.screen.table.rows].index("train")
        await seen.press("E")
        await seen.until(lambda: isinstance(seen.app.screen, EvaluationsSheet))
        await seen.until(lambda: seen.app.screen.query_one(DataTable).row_count == 3)
        assert "question 1" in said(seen, "#row")
        await seen.press("o")
        assert "question 2" in said(seen, "#row")
        await seen.press("down")
        await seen.until(lambda: "question 1" in said(seen, "#row"))
        await seen.press("escape")
        await seen.until(lambda: not isinstance(seen.app.screen, EvaluationsSheet))


async def test_run_without_evaluation_says_how_to_make_one(ft_home: Path) -> None:
    make_run("20260103-000000-sql", steps=3)
    async with runs_screen(1) as seen:
        await seen.press("E")
        await seen.until(lambda: isinstance(seen.app.screen, EvaluationsSheet))
        await seen.until(lambda: "not been evaluated" in said(seen, "#scores"))


async def test_damaged_evaluation_is_left_out(ft_home: Path) -> None:
    run = stored_evaluation(make_run("20260103-000000-sql", steps=3))
    (run.folder / ROWS).write_text('{"prompt": "half a li')
    async with runs_screen(2) as seen:
        await seen.press("E")
        await seen.until(lambda: "has no result" in said(seen, "#scores"))
