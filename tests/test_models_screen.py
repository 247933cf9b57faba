"""The Models screen, driven as a person drives it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input

from engine import paths
from engine.models import starter
from ft.app import FtApp
from screens.models.screen import ModelsScreen
from tests.app_pilot import shown, until


@pytest.fixture
def app() -> FtApp:
    return FtApp(start="models")


def screen_of(pilot: Pilot[Any]) -> ModelsScreen:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, ModelsScreen)
    return screen


async def ready(pilot: Pilot[Any]) -> ModelsScreen:
    """Wait until the models are listed."""
    await until(pilot, lambda: isinstance(pilot.app.screen_stack[0], ModelsScreen))
    screen = screen_of(pilot)
    await until(pilot, lambda: screen.chosen is not None, "a model under the cursor")
    return screen


def copy_model(tiny_model: Path, name: str) -> Path:
    """A model that a person has put into the models folder."""
    paths.models().mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(tiny_model, paths.models() / name))


async def type_name(pilot: Pilot[Any], name: str) -> None:
    await pilot.press("a")
    await until(pilot, lambda: isinstance(pilot.app.focused, Input))
    assert isinstance(pilot.app.focused, Input)
    pilot.app.focused.value = name
    await pilot.press("enter")


async def test_models_screen_lists_models_and_fit(app: FtApp, tiny_model: Path) -> None:
    """The starter and local folders."""
    folder = copy_model(tiny_model, "mine")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine")
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        assert [model.entry.name for model in screen.models] == ["starter", "mine"]
        await until(pilot, lambda: "p makes it ready" in shown(app))
        await pilot.press("down")
        await until(pilot, lambda: screen.chosen and screen.chosen.entry.name == "mine")
        await pilot.pause()
        text = shown(app)
        row = next(line for line in text.splitlines() if "mine " in line and "fp32" in line)
        assert row.count("yes") == 3
        for fact in ("mit", "chatml", "llama", "weights", "optimizer", "activations", str(folder.name)):
            assert fact in text


async def test_damaged_model_is_listed_with_problem(app: FtApp, tiny_model: Path) -> None:
    folder = copy_model(tiny_model, "broken")
    (folder / "config.json").write_text("{")
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("down")
        await until(pilot, lambda: "is damaged; copy it again" in shown(app), "the problem")


async def test_model_box_takes_letters_until_escape(app: FtApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        await pilot.press("a", "q", "d", "1")
        assert screen.query_one("#add", Input).value == "qd1"
        await pilot.press("escape")
        assert isinstance(app.focused, DataTable)
        assert not screen.query_one("#add").has_class("-open")
        assert app.is_running


async def test_no_model_is_deleted_without_yes(app: FtApp, tiny_model: Path) -> None:
    folder = copy_model(tiny_model, "mine")
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await pilot.press("down", "d")
        await until(pilot, lambda: len(app.screen_stack) == 2, "the question")
        await pilot.press("enter")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        assert folder.is_dir()
        await pilot.press("d")
        await until(pilot, lambda: len(app.screen_stack) == 2, "the question")
        await pilot.press("y")
        await until(pilot, lambda: len(screen.models) == 1, "the model gone")
        assert not folder.exists()


async def test_deleting_model_link_keeps_target(app: FtApp, tiny_model: Path) -> None:
    paths.models().mkdir(parents=True)
    (paths.models() / "linked").symlink_to(tiny_model)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await pilot.press("down", "d")
        await until(pilot, lambda: len(app.screen_stack) == 2, "the question")
        assert "its target stays" in shown(app)
        await pilot.press("y")
        await until(pilot, lambda: len(screen.models) == 1, "the link gone")
    assert (tiny_model / "config.json").is_file()


async def test_recipe_opens_with_chosen_model(
    app: FtApp, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_model(tiny_model, "mine")
    opened: list[tuple[Path | None, str]] = []
    monkeypatch.setattr(app, "open", lambda intent: opened.append((intent.path, intent.text)))
    monkeypatch.chdir(tmp_path)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("u", "down", "u")
        own = tmp_path / "train.yml"
        own.write_text(
            "# mine\nmodel:\n  base: other/one  # was good\n  revision: v1\ndata: {train: rows.jsonl}\n"
        )
        await pilot.press("enter")
        await until(pilot, lambda: len(opened) == 3)
    assert opened[0][0] is None
    assert f"base: {starter.NAME}" in opened[0][1]
    assert f"base: {folder}" in opened[1][1]
    assert "#" in opened[1][1], "the profile's comments are kept"
    assert opened[2] == (
        own,
        f"# mine\nmodel:\n  base: {folder}  # was good\ndata: {{train: rows.jsonl}}\n",
    )
    assert "other/one" in own.read_text(), "nothing is saved unasked"
