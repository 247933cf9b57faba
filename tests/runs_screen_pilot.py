"""The app at its Runs screen, driven by keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from ft import app
from ft.app import FtApp
from screens.intents import Intent
from screens.runs.screen import RunsScreen


class Watched(FtApp):
    """The real app, that notes where the Runs screen sends a person."""

    CSS_PATH = Path(app.__file__).with_name("app.tcss")
    LOOK_S = 0.05

    def __init__(self) -> None:
        super().__init__(start="runs")
        self.asked: list[Intent | tuple[str, str]] = []

    def open(self, intent: Intent) -> None:
        self.asked.append(intent)

    async def resume_run(self, run_id: str, checkpoint: Path | None = None) -> None:
        self.asked.append(("resume", run_id))


class Seen:
    """The screen, and waiting until it shows something."""

    def __init__(self, app: Watched, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def screen(self) -> RunsScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, RunsScreen)
        return screen

    def names(self) -> list[str]:
        return [run.name for run in self.screen.table.rows]

    def text(self, selector: str) -> str:
        return str(self.screen.query_one(selector).render())

    async def until(self, what: Any) -> None:
        for _ in range(200):
            await self.pilot.pause(0.02)
            if what():
                return
        raise AssertionError("it did not come to that")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(
            "slash", *("space" if c == " " else "less_than_sign" if c == "<" else c for c in text)
        )


@asynccontextmanager
async def runs_screen(
    expected: int, size: tuple[int, int] = (120, 36), listed: int | None = None
) -> AsyncIterator[Seen]:
    watched = Watched()
    async with watched.run_test(size=size) as pilot:
        seen = Seen(watched, pilot)
        await seen.until(lambda: isinstance(watched.screen_stack[0], RunsScreen))
        await seen.until(lambda: len(watched.runs) == expected)
        await seen.until(lambda: len(seen.screen.table.rows) == (expected if listed is None else listed))
        yield seen
