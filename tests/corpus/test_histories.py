"""Long runs and many runs: what lists and summaries cost, what ctrl-c and links leave (reliability.md, 18 and 19)."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from engine import paths
from engine.config.load import Recipe, load_text
from engine.runs.directory import create, create_job, run, skim, totals
from engine.runs.directory.create import create_run
from engine.runs.directory.events import Eval, Event, Finished, Memory, Started, Step, decode, encode
from engine.runs.directory.run import Run
from engine.runs.directory.state import current
from engine.runs.index.index import Index, summary_of
from engine.storage.atomic import write_atomic
from ft.cli import main
from tests.run_fixtures import make_run, step
from tests.training import recipe_text, write_rows

TEXT = "name: demo\nmodel: {base: starter}\ndata: {train: starter}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_text(TEXT, tmp_path / "train.yml")


def long_run(steps: int, evaluated: int = 100, metrics: Mapping[str, float] | None = None) -> Run:
    """A run of so many steps with an evaluation each `evaluated`, and the memory after every step."""
    made = make_run("20260101-000000-long", steps=0, end=None)
    with made.events_file.open("ab") as file:
        for number in range(1, steps + 1):
            file.write(encode(replace(step(number, 1 / number, steps), metrics=metrics or {})))
            file.write(encode(Memory(process_peak_bytes=number)))
            if number % evaluated == 0:
                file.write(encode(Eval(step=number, loss=2 / number, perplexity=1.0, best=True)))
        file.write(encode(Finished(reason="completed", step=steps)))
    return made


def test_showing_run_again_reads_no_events(
    ft_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = long_run(1000)
    assert main(["runs", "show", made.id]) == 0
    first = capsys.readouterr().out
    assert "step 100)" in first
    assert "step 1000)" in first
    for where in (skim, run.log):
        monkeypatch.setattr(where, "decode", lambda line: pytest.fail("an event was decoded"))
    assert main(["runs", "show", made.id]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("metrics", [{}, {"margin": 0.5}])
def test_summary_of_long_run_decodes_few_events(
    ft_home: Path, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, float]
) -> None:
    made = long_run(20_000, evaluated=5_000, metrics=metrics)
    decoded = 0

    def counting(line: bytes) -> Event | None:
        nonlocal decoded
        decoded += 1
        return decode(line)

    monkeypatch.setattr(skim, "decode", counting)
    summary = summary_of(made)
    assert decoded < 200
    assert (summary.state.step, summary.state.status) == (20_000, "completed")
    assert summary.totals.tokens == 20_000 * 120


@pytest.mark.parametrize("resumed_from", [None, 150, 700])
def test_summary_has_current_first_and_last_evaluation(ft_home: Path, resumed_from: int | None) -> None:
    """Evaluations that a resumed run has done over count no more."""
    made = long_run(1000)
    if resumed_from is not None:
        made.emit(Started(run=made.id, pid=1, resumed_from=resumed_from))
        made.emit(step(resumed_from + 1, 9.0))
    found, holding = skim.read(made.events_file), list(current(made.events()))
    evals = [event for event in holding if isinstance(event, Eval)]
    assert (found.totals.first_eval, found.totals.last_eval) == (evals[0], evals[-1])
    assert found.totals.tokens == sum(event.tokens for event in holding if isinstance(event, Step))
    assert made.evaluations() == evals


@pytest.mark.parametrize("metrics", [{}, {"margin": 0.5, "tokens": float("nan")}])
def test_written_steps_are_summed_up_quickly(ft_home: Path, metrics: dict[str, float]) -> None:
    """Whoever adds a field to a step, or another kind of number, must not turn the quick way off."""
    losses = (float("nan"), 1e-9, float("inf"), -1.5, 1e22)
    odd = [replace(step(number, loss), metrics=metrics) for number, loss in enumerate(losses, 1)]
    sum_ = totals.Sum(totals.Totals())
    assert sum_.steps([encode(one) for one in odd])
    assert sum_.totals().tokens == 5 * 120
    assert sum_.totals().seconds == pytest.approx(5.0)


def test_run_list_reuses_single_run_summaries(ft_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make_run(f"2026010{day}-000000-a", steps=10) for day in range(1, 4)]
    shown = [summary_of(one) for one in made]
    monkeypatch.setattr(skim, "read", lambda *_: pytest.fail("a run's events were read again"))
    assert list(Index().refresh()) == shown[::-1]


def test_stored_recipe_lists_without_yaml_parser(ft_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("20260101-000000-a", steps=3)
    monkeypatch.setattr("engine.config.yaml_reader.read_yaml", lambda *_: pytest.fail("it was parsed"))
    (summary,) = Index().refresh()
    assert summary.config["training.learning_rate"] == 1e-3
    assert not summary.damaged


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def presses_ctrl_c(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Ctrl-c arrives just before the `at`-th file of a new run is written."""
    writes, real = itertools.count(1), write_atomic

    def write(path: Path, text: str) -> None:
        if next(writes) == at:
            signal.raise_signal(signal.SIGINT)
        real(path, text)

    for module in (run, create, create_job):
        monkeypatch.setattr(module, "write_atomic", write)


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_ctrl_c_during_creation_leaves_no_run(
    recipe: Recipe, ft_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, elsewhere: bool
) -> None:
    presses_ctrl_c(monkeypatch, at)
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        create_run(recipe, folder if elsewhere else None)
    assert files_of(paths.runs()) == []
    assert files_of(folder) == []
    assert Index().refresh() == ()
    assert create_run(recipe, folder).state().status == "new"


@pytest.mark.parametrize("at", [1, 3])
def test_interrupted_train_start_leaves_no_run(
    tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    (folder / "train.yml").write_text(recipe_text(tiny_model, write_rows(folder)))
    presses_ctrl_c(monkeypatch, at)
    assert main(["train"]) == 130
    assert files_of(paths.runs()) == []


def test_full_disk_during_creation_leaves_no_run(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr(run, "write_atomic", full)
    with pytest.raises(Exception, match="disk is full"):
        create_run(recipe)
    assert files_of(paths.runs()) == []


@pytest.mark.slow
def test_ctrl_c_never_leaves_damaged_run(tiny_model: Path, folder: Path) -> None:
    (folder / "train.yml").write_text(recipe_text(tiny_model, write_rows(folder), training={"epochs": 50}))
    paths.runs().mkdir(parents=True)
    for moment in ("events.jsonl", "train.yml", "provenance.json", "lock"):
        started = subprocess.Popen(
            [sys.executable, "-P", "-c", "import sys; from ft.cli import main; sys.exit(main(['train']))"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while started.poll() is None and not any(paths.runs().glob(f"*/{moment}")):
            pass
        started.send_signal(signal.SIGINT)
        assert started.wait(timeout=120) == 130
        for summary in Index().refresh():
            assert summary.state.status == "stopped"
            assert not summary.damaged
            Run(summary.folder).remove()


def linked_run(tmp_path: Path) -> Run:
    """A run that was moved to another place, with a link where it was."""
    made = make_run("20260101-000000-a", steps=3)
    shutil.move(made.folder, tmp_path / "larger-disk")
    made.folder.symlink_to(tmp_path / "larger-disk")
    return made


def test_linked_run_is_removed_with_its_link(ft_home: Path, tmp_path: Path) -> None:
    linked_run(tmp_path)
    assert main(["runs", "rm", "--yes", "20260101-000000-a"]) == 0
    assert list(paths.runs().iterdir()) == []
    assert not (tmp_path / "larger-disk").exists()


def test_run_list_on_narrow_terminal_keeps_ids(
    ft_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("20260101-000000-a", steps=3)
    make_run("20260102-000000-b", steps=3)
    monkeypatch.setattr("ft.console.PIPE_WIDTH", 70)
    assert main(["runs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "20260102-000000-b", "20260101-000000-a"]
    assert all(len(line) <= 70 for line in lines)
