"""Plans while somebody types are those of `ft plan`, whatever was planned before them."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import load_text
from engine.data.prepare import sample
from engine.errors import DataError
from engine.hardware.probe import Machine
from engine.planning.cached import CachedPlanner
from engine.planning.estimate import estimate
from tests.app_pilot import MACHINE
from tests.terminal import write_recipe


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe for a tiny model and rows of its own, on a machine that never changes."""
    for module in ("cached", "estimate"):
        monkeypatch.setattr(f"engine.planning.{module}.probe", lambda: MACHINE)
    return write_recipe(tmp_path / "here", tiny_model, model={"base": str(tiny_model), "max_seq_length": 64})


def edited(recipe: Path, section: str, key: str, value: object) -> str:
    body = json.loads(recipe.read_text())
    body[section][key] = value
    return json.dumps(body)


@pytest.mark.parametrize("limits", [(64, 512, 20, 512, 64), (20, 25, 20, 64, 20, 512)], ids=str)
def test_live_plan_equals_ft_plan(recipe: Path, limits: tuple[int, ...]) -> None:
    """Lengths that were planned before change nothing."""
    planner = CachedPlanner()
    for limit in limits:
        text = edited(recipe, "model", "max_seq_length", limit)
        expected = estimate(load_text(text, recipe).config)
        assert planner.plan(text, recipe) == expected


def test_uncut_rows_are_read_once(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planner, taken = CachedPlanner(), []

    def counted(*given: Any, **named: Any) -> Any:
        taken.append(given)
        return sample(*given, **named)

    monkeypatch.setattr("engine.planning.cached.sample", counted)
    for limit in (64, 128, 256, 64):
        planner.plan(edited(recipe, "model", "max_seq_length", limit), recipe)
    assert len(taken) == 1
    (recipe.parent / "rows.jsonl").write_text('{"prompt": "another", "completion": "row"}\n' * 8)
    assert planner.plan(recipe.read_text(), recipe) == estimate(load_text(recipe.read_text(), recipe).config)
    assert len(taken) == 2


def test_length_without_trained_tokens_is_an_error(recipe: Path) -> None:
    """The error comes each time, and the next length is planned."""
    (recipe.parent / "rows.jsonl").write_text(json.dumps({"prompt": "long " * 8, "completion": "no"}) + "\n")
    planner, short = CachedPlanner(), edited(recipe, "model", "max_seq_length", 16)
    for _ in range(2):
        with pytest.raises(DataError, match="nothing left to train"):
            planner.plan(short, recipe)
    assert planner.plan(recipe.read_text(), recipe).work.longest > 16


def test_plan_does_not_wait_for_machine_probe(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next plan knows what the probe has found."""
    planner, text, looked = CachedPlanner(), recipe.read_text(), threading.Event()
    smaller = replace(MACHINE, available_bytes=8_000_000_000)

    def slow() -> Machine:
        looked.wait(60)
        return smaller

    planner.plan(text, recipe)
    monkeypatch.setattr("engine.planning.cached.FRESH_S", 0.0)
    monkeypatch.setattr("engine.planning.cached.probe", slow)
    before = planner.plan(text, recipe)
    looked.set()
    assert planner._probing is not None
    planner._probing.join(60)
    assert planner.plan(text, recipe).limit_bytes < before.limit_bytes
    monkeypatch.setattr("engine.planning.cached.probe", lambda: MACHINE)
    monkeypatch.setattr("engine.planning.cached.STALE_S", 0.0)
    assert planner.plan(text, recipe) == before  # what is too old is not planned with
