"""The table of screens: a row and a package make a screen, each is built on FtScreen alone, and intents find theirs."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from textual.screen import Screen

import screens
from ft.app import FtApp
from screens.actions import SCREENS, key_of
from screens.base import FtScreen
from screens.intents import Intent
from screens.keymap import is_key
from tests.app_pilot import until

SCOPES = [scope for _, scope, _ in SCREENS]
SCREEN = """
from textual.widgets import Static
from screens.base import FtScreen

class {name}Screen(FtScreen):
    SCOPE = "{scope}"
    CSS_PATH = "screen.tcss"
    waved = 0

    def body(self):
        yield Static("hello")

    def action_wave(self):
        self.waved += 1
"""
ACTIONS = """
from screens.action import Action

ACTIONS = (Action("{scope}.wave", "w", "wave", "Wave."),)
"""
DRIVE = """
import asyncio
from ft.app import FtApp

async def main():
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        for key, scope in (("9", "export"), ("alt+1", "sweeps")):
            await pilot.press(key)
            await pilot.pause(0.2)
            assert app.scope == scope, app.scope
            await pilot.press("w")
            await pilot.pause(0.2)
            assert app.front.waved == 1

asyncio.run(main())
"""


def screen_class(scope: str) -> type[FtScreen]:
    found = getattr(import_module(f"screens.{scope}.screen"), f"{scope.capitalize()}Screen")
    assert issubclass(found, FtScreen)
    return found


def test_new_package_and_row_make_screen(tmp_path: Path, ft_home: Path) -> None:
    """The new screen has a key of its own."""
    copy = tmp_path / "screens"
    shutil.copytree(Path(str(screens.__file__)).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    table = copy / "actions.py"
    row = '    ("settings", "Settings"),\n'
    text = table.read_text(encoding="utf-8")
    assert row in text
    more = row + '    ("export", "Export"),\n    ("sweeps", "Sweeps"),\n'
    table.write_text(text.replace(row, more), encoding="utf-8")
    for scope in ("export", "sweeps"):
        package = copy / scope
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "screen.py").write_text(SCREEN.format(scope=scope, name=scope.capitalize()))
        (package / "screen.tcss").touch()
        (package / "actions.py").write_text(ACTIONS.format(scope=scope))
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-P", "-c", DRIVE],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_first_eighteen_screens_have_terminal_keys() -> None:
    keys = [key_of(place) for place in range(30)]
    assert len(SCREENS) <= 18
    assert len(set(keys[:18])) == 18
    assert all(is_key(key) for key in keys[:18])
    assert not any(keys[18:]), "the palette leads to the others"


@pytest.mark.parametrize("scope", SCOPES)
def test_screen_has_one_own_base(scope: str) -> None:
    found = screen_class(scope)
    assert scope == found.SCOPE
    ours = [base for base in found.__mro__[1:] if base.__module__.split(".")[0] in ("screens", "ft")]
    assert ours == [FtScreen]
    assert [base for base in FtApp.__mro__[1:] if base.__module__.split(".")[0] in ("screens", "ft")] == []
    assert issubclass(FtScreen, Screen)


@pytest.mark.parametrize("intent", Intent.__subclasses__(), ids=lambda intent: intent.__name__)
def test_intent_names_screen_that_takes_it(intent: type[Intent]) -> None:
    assert intent.scope in SCOPES
    assert screen_class(intent.scope).receive is not FtScreen.receive


async def test_intent_opens_its_screen_from_another(ft_home: Path, tmp_path: Path) -> None:
    from screens.intents import EditRecipe

    recipe = tmp_path / "other.yml"
    recipe.write_text("model: {base: starter}\ndata: {train: starter}\n")
    app = FtApp("runs")
    async with app.run_test(size=(120, 36)) as pilot:
        app.open(EditRecipe(recipe))
        await until(pilot, lambda: app.scope == "recipe", "Recipe is in front")
        screen = app.front
        assert isinstance(screen, screen_class("recipe"))
        await until(pilot, lambda: screen.opened and screen.document.path == recipe, "the file is open")
