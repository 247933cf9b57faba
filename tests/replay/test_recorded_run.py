"""A run that version 0.1.0 began, with its recipe, checkpoints and adapter, is still a run.

Its folder was recorded as it lay there, stopped after three of six steps; `@BASE@` and `@HERE@` stand for the paths of
the model and of the folder that it was made in. It is never recorded anew: it stands for the runs that people have.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.replay.__main__ import RECORDED, ROOT
from tests.replay.recipes import BASE
from tests.replay.record import facts, train, weights
from tests.replay.test_replay import assert_the_same
from tests.terminal import ft

pytestmark = pytest.mark.slow
RUN = "20261129-080230-replay"
WITH_PATHS = ("source.yml", "train.yml", "events.jsonl", "provenance.json")


@pytest.fixture
def recorded_run(folder: Path, ft_home: Path) -> Path:
    """The run's folder, where runs lie, with its rows in the folder that it was made in."""
    shutil.copy(RECORDED / "rows.jsonl", folder)
    run = ft_home / "runs" / RUN
    shutil.copytree(RECORDED / "run", run)
    for name in WITH_PATHS:
        text = (run / name).read_text()
        (run / name).write_text(text.replace("@BASE@", str(BASE)).replace("@HERE@", str(folder)))
    return run


def test_its_recipe_is_valid(recorded_run: Path) -> None:
    for name in ("source.yml", "train.yml"):
        shutil.copy(recorded_run / name, "train.yml")
        assert ft("validate").returncode == 0


def test_it_is_listed_and_shown_as_it_was(recorded_run: Path) -> None:
    (listed,) = json.loads(ft("runs", "list", "--json").stdout)
    shown = json.loads(ft("runs", "show", RUN, "--json").stdout)
    for told in (listed, shown):
        assert (told["id"], told["status"], told["step"], told["total"]) == (RUN, "stopped", 3, 6)
        assert told["loss"] == pytest.approx(5.9605, abs=1e-4)


def test_checkpoint_resumes_to_recorded_losses(recorded_run: Path, folder: Path) -> None:
    train(ROOT, folder, {"FT_HOME": str(recorded_run.parent.parent)}, "--resume", RUN)
    before = json.loads((RECORDED / "resumed.json").read_text())
    assert_the_same([*facts(recorded_run)], before["events"])
    assert sorted(weights(recorded_run)) == before["weights"]


def test_its_adapter_answers(recorded_run: Path) -> None:
    sampled = [event["text"] for event in facts(recorded_run) if event["type"] == "sample"]
    answer = ft("generate", RUN, "--prompt", "Say fox 2 times.", "--max-tokens", "8")
    assert answer.stdout.strip() == sampled[-1].strip()
