"""Mistakes that `ft train` finds before an engine is started: one message, a hint, no run left behind."""

import json
import os
from pathlib import Path

import pytest

from engine.runs.directory.create import create_run
from engine.runs.directory.run import Run
from tests.terminal import ft, write_recipe
from tests.test_data_lint import chat


@pytest.mark.parametrize(
    ("overrides", "code", "said"),
    [
        (["data.train=missing.jsonl"], 3, "missing.jsonl"),
        (["data.train=empty.jsonl"], 3, "empty"),
        (["data.train=broken.jsonl"], 3, "broken.jsonl:1"),
        (["data.validation=missing.jsonl"], 3, "missing.jsonl"),
        (["model.base=./nowhere"], 4, "nowhere"),
        (["model.base=./empty-model"], 4, "config.json"),
        (["training.max_step=3"], 2, "max_steps"),
    ],
)
def test_mistake_is_told_before_any_run(
    tmp_path: Path, tiny_model: Path, overrides: list[str], code: int, said: str
) -> None:
    recipe = write_recipe(tmp_path, tiny_model)
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a", \n')
    (tmp_path / "empty-model").mkdir()
    done = ft("train", recipe, *(part for change in overrides for part in ("--set", change)))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert Run.all() == []


def test_unwritable_run_folder_is_machine_error(tmp_path: Path, tiny_model: Path) -> None:
    recipe = write_recipe(tmp_path, tiny_model)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    # Root may write anywhere but into /proc.
    folder = Path("/proc/ft-run") if os.geteuid() == 0 else locked / "run"
    done = ft("train", recipe, "--run-dir", folder)
    assert done.returncode == 7, done.stderr
    assert str(folder) in done.stderr
    assert "--run-dir" in done.stderr


def test_unwritable_home_is_machine_error(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "file").write_text("")
    done = ft("train", write_recipe(tmp_path, tiny_model), FT_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 7, done.stderr


def test_nonempty_run_folder_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    done = ft("train", write_recipe(tmp_path, tiny_model), "--run-dir", tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr


def test_resume_takes_the_runs_own_recipe(tmp_path: Path, tiny_model: Path) -> None:
    done = ft("train", write_recipe(tmp_path, tiny_model), "--resume", "x")
    assert done.returncode == 2
    assert "--resume" in done.stderr


def test_commands_say_when_there_is_no_run() -> None:
    """Stop, attach, show and rm."""
    for command in (["stop"], ["attach"], ["runs", "show"], ["runs", "rm", "x", "--yes"], ["generate"]):
        done = ft(*command)
        assert done.returncode == 2, (command, done.stderr)
        assert "run" in done.stderr
    assert ft("runs", "list", "--json").stdout == "[]\n"
    assert "no runs yet" in ft("runs", "list").stderr


def test_runs_rm_asks_first(tmp_path: Path, tiny_model: Path) -> None:
    from engine.config.load import load_recipe

    run = create_run(load_recipe(write_recipe(tmp_path, tiny_model)))
    done = ft("runs", "rm", run.id)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert run.folder.is_dir()
    assert ft("runs", "rm", run.id, "--yes").returncode == 0
    assert not run.folder.exists()


@pytest.mark.slow
def test_wasteful_data_stops_run_unless_forced(tmp_path: Path, tiny_model: Path) -> None:
    recipe = write_recipe(tmp_path, tiny_model)
    rows = [chat(f"Say {n}. <|im_end|>", f"It is {n}.") for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changed = ("--set", "data.train=rows.jsonl", "--set", "training.max_steps=2")
    done = ft("train", recipe, "--plain", *changed)
    assert done.returncode == 3, done.stderr
    assert "20 rows have control tokens in the text, as <|im_end|>" in done.stderr
    assert "ft train --force" in done.stderr
    forced = ft("train", recipe, "--plain", "--force", *changed)
    assert forced.returncode == 0, forced.stderr
    assert "--force overrides an error of the data: 20 rows have control tokens" in forced.stderr
