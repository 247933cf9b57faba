"""The Recipe screen in the real app, planning in this process for a machine that never changes."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot

from engine.config.form import Field, fields
from engine.config.load import load_text
from engine.models.shape import Linear, ModelShape
from engine.planning.plan import Plan
from engine.service.client import Cancelled
from ft import app
from ft.app import FtApp
from screens.recipe.editor import Editor
from screens.recipe.fields import Fields
from screens.recipe.screen import RecipeScreen
from tests.app_pilot import MACHINE, until
from tests.plan_fixtures import planned

RECIPE = """\
# Orders as JSON.
name: orders        # what lists show

model:
  base: starter
  max_seq_length: 512  # tokens

data:
  train: starter

adapter:
  rank: 16          # its size
  alpha: 32

training:
  learning_rate: 1e-3
"""

SHAPE = ModelShape(
    architecture="llama",
    layers=30,
    hidden=576,
    intermediate=1536,
    heads=9,
    kv_heads=3,
    head_dim=64,
    vocab=49152,
    tied=True,
    parameters=134_515_008,
    linears=(
        Linear("q_proj", 576, 576, 30),
        Linear("k_proj", 576, 192, 30),
        Linear("v_proj", 576, 192, 30),
        Linear("o_proj", 576, 576, 30),
        Linear("gate_proj", 576, 1536, 30),
        Linear("up_proj", 576, 1536, 30),
        Linear("down_proj", 1536, 576, 30),
    ),
    context=8192,
    embedding_parameters=28_311_552,
)
LENGTHS = np.full(280, 90, dtype=np.int64)


def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str | None = RECIPE) -> Path:
    """A folder with a recipe, or an empty one, in which the app is started."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if recipe is not None:
        (folder / "train.yml").write_text(recipe, encoding="utf-8")
    return folder


def field(name: str) -> Field:
    """The field of a dotted key."""
    return next(one for one in fields() if one.name == name)


class Planner:
    """Plans as the service does, for a given machine and 280 rows of the starter's size."""

    def __init__(self) -> None:
        self.machine = MACHINE
        self.plans: list[str] = []
        self.held: threading.Event | None = None
        """Wait for this before answering, or for being cancelled."""
        self.cancelled = 0

    def plan(self, text: str, path: Path, cancelled: threading.Event | None = None) -> Plan:
        self.plans.append(text)
        while self.held is not None and not self.held.wait(0.01):
            if cancelled is not None and cancelled.is_set():
                self.cancelled += 1
                raise Cancelled
        config = load_text(text, path).config
        return planned(config, self.machine, SHAPE, LENGTHS, 0.4)

    def close(self) -> None:
        """Nothing runs."""


class RecipeApp(FtApp):
    """The real app, with that planner, noting the recipes whose training is requested."""

    CSS_PATH = str(Path(app.__file__).with_name("app.tcss"))

    def __init__(self) -> None:
        super().__init__(start="recipe")
        self.planner = Planner()
        self.trained: list[tuple[str, Path | None]] = []

    def service(self) -> Any:
        return self.planner

    async def start_run(self, text: str, path: Path | None) -> None:
        self.trained.append((text, path))


class Seen:
    """The Recipe screen as a person sees it, and waiting for it."""

    def __init__(self, app: RecipeApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def screen(self) -> RecipeScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, RecipeScreen)
        return screen

    @property
    def editor(self) -> Editor:
        return self.screen.query_one(Editor)

    @property
    def title(self) -> str:
        return str(self.screen.query_one("#text-pane").border_title)

    @property
    def note(self) -> str:
        return str(self.screen.query_one("#plan-note").render())

    @property
    def planned(self) -> str:
        return "\n".join(str(self.screen.query_one(name).render()) for name in ("#plan", "#plan-choices"))

    @property
    def form(self) -> Fields:
        return self.screen.query_one(Fields)

    def field(self, name: str) -> str:
        """Value that the form shows for a key that the text gives."""
        return self.form.value(field(name))

    def at(self, name: str) -> None:
        """Go to a field of the form."""
        self.screen.set_focus(self.form)
        self.form.go_to(field(name))

    async def enter(self, name: str, typed: str) -> None:
        """Type into an emptied field of the form."""
        self.at(name)
        await self.pilot.press("ctrl+u", *typed)

    async def until(self, happened: Callable[[], Any], what: str) -> None:
        await until(self.pilot, happened, what)

    async def until_planned(self) -> None:
        await self.until(lambda: self.screen.document.plan, "a plan is shown")

    async def until_wrong(self, count: int) -> None:
        await self.until(lambda: len(self.screen.document.problems) == count, f"{count} problems are marked")

    async def until_in_front(self, kind: type) -> None:
        await self.until(lambda: isinstance(self.app.screen, kind), f"{kind.__name__} is in front")

    @property
    def lines(self) -> list[str]:
        """The rows of the text pane, as they are shown, from the line numbers on."""
        return [self.editor.render_line(y).text.rstrip() for y in range(self.editor.size.height)]


@asynccontextmanager
async def recipe_screen(size: tuple[int, int] = (120, 36)) -> AsyncIterator[Seen]:
    """The app at its Recipe screen, whatever the current folder holds read and planned."""
    running = RecipeApp()
    async with running.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(running.screen_stack[0], RecipeScreen), "the screen is there")
        seen = Seen(running, pilot)
        if Path("train.yml").exists():
            await seen.until(lambda: seen.screen.opened, "the recipe is open")
        yield seen
