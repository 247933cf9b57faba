"""`ft models list` from its cache: the same lines as from whole plans, and new ones where anything has changed."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine import paths
from engine.hardware.probe import probe
from engine.planning import feasibility, model_table, trainability
from engine.planning.trainability import TrainableModels
from ft.cli import main
from tests.tiny import change_model

GB = 1_000_000_000


@pytest.fixture(autouse=True)
def models(tiny_model: Path, ft_home: Path) -> Path:
    """Two models, one of them damaged."""
    folder = ft_home / "models"
    shutil.copytree(tiny_model, folder / "tiny")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "config.json").write_text("{")
    return folder


def with_memory(monkeypatch: pytest.MonkeyPatch, available: int) -> None:
    here = replace(probe(), available_bytes=available, ram_bytes=64 * GB)
    for module in (model_table, trainability):
        monkeypatch.setattr(module, "probe", lambda: here)


def listed() -> dict[str, dict[str, str]]:
    return {line.entry.name: dict(line.fits) for line in model_table.lines()}


@pytest.mark.parametrize(
    "available", [GB, 3_700_000_000, 3_770_000_000, 3_850_000_000, 3_950_000_000, 60 * GB]
)
def test_lines_say_what_whole_plans_say(monkeypatch: pytest.MonkeyPatch, available: int) -> None:
    """Around the limit too, where a plan takes its smallest micro-batch; the reserve for the system is 3.2 GB."""
    with_memory(monkeypatch, 60 * GB)
    listed()  # cached under much memory
    with_memory(monkeypatch, available)
    whole = {
        model.entry.name: {fit.method: fit.fits for fit in model.fits} for model in TrainableModels().list()
    }
    assert listed() == whole
    assert listed() == whole, "from the cache"


def test_cached_lines_make_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    first = listed()

    def none(*_: object) -> None:
        raise AssertionError("a plan was made")

    monkeypatch.setattr(feasibility, "make_plan", none)
    assert listed() == first


def test_cached_list_loads_neither_planner_nor_libraries(ft_home: Path) -> None:
    model_table.lines()
    heavy = "('torch', 'transformers', 'numpy', 'huggingface_hub', 'engine.planning.planner')"
    code = (
        "import sys; from ft.cli import main; main(['models', 'list']); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert "tiny" in told.stdout
    assert told.stdout.splitlines()[-1] == "[]"


def test_changed_model_gets_a_new_line(models: Path, tiny_model: Path) -> None:
    before = {line.entry.name: line.about.parameters for line in model_table.lines()}
    shutil.rmtree(models / "tiny")
    change_model(tiny_model, models / "tiny", num_hidden_layers=1)
    after = {line.entry.name: line.about.parameters for line in model_table.lines()}
    assert before["tiny"] is not None
    assert after["tiny"] is not None
    assert after["tiny"] < before["tiny"]


def test_mended_model_is_ready(models: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert "cannot be read" in capsys.readouterr().out
    shutil.copytree(tiny_model, models / "damaged", dirs_exist_ok=True)
    assert main(["models", "list"]) == 0
    assert "cannot be read" not in capsys.readouterr().out


def test_model_that_is_gone_leaves_the_cache(models: Path) -> None:
    model_table.lines()
    shutil.rmtree(models / "tiny")
    assert "tiny" not in listed()
    kept = json.loads((paths.cache() / model_table.FILE).read_text())["folders"]
    assert not any(folder.endswith("tiny") for folder in kept)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"made_by": 1}', '{"made_by": "x", "folders": {"a": 1}}']
)
def test_damaged_cache_is_made_again(content: str) -> None:
    first = listed()
    (paths.cache() / model_table.FILE).write_text(content)
    assert listed() == first


def test_cache_of_another_machine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model_table.lines()
    other = replace(probe(), cores=probe().cores + 1)
    monkeypatch.setattr(model_table, "probe", lambda: other)
    made = []
    real = model_table._about
    monkeypatch.setattr(model_table, "_about", lambda *given: made.append(given) or real(*given))
    model_table.lines()
    assert len(made) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_cache_that_cannot_be_written_stops_no_list(ft_home: Path) -> None:
    (ft_home / "cache").mkdir()
    (ft_home / "cache").chmod(0o500)
    assert "tiny" in listed()
