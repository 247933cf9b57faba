"""Leaving the app: the question that comes first, what happens to live runs, and that it ends."""

import asyncio
import json
from pathlib import Path

import pytest

import ft.app
from engine.jobs.download import Download
from engine.runs.directory.events import Phase
from engine.runs.directory.lock import holding, take
from ft.app import FtApp
from ft.launch import farewell
from screens.actions import SCREENS
from screens.widgets.leave import Leave
from screens.widgets.palette import Palette
from tests.app_pilot import PATIENCE_S, shown, until
from tests.run_fixtures import make_run


async def test_q_leaves_app_without_live_run() -> None:
    make_run("20260528-123456-orders")
    app = FtApp()
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.runs, "the run is seen")
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running or app._exit, "the app ends")


@pytest.mark.parametrize("scope", [scope for _, scope, _ in SCREENS])
async def test_app_that_is_left_while_a_screen_comes_up_ends_well(ft_home: Path, scope: str) -> None:
    """The screen has not all of its widgets then; `run_test` raises what the app has died of."""
    app = FtApp()
    async with app.run_test():
        app.go(scope)
        app.exit()


async def test_ctrl_q_leaves_app_from_dialog() -> None:
    app = FtApp()
    async with app.run_test() as pilot:
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, Palette), "the palette is open")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the app ends")


@pytest.mark.parametrize(
    ("key", "commands", "leaves"), [("enter", [], True), ("x", ["stop"], True), ("escape", [], False)]
)
async def test_leaving_app_asks_about_live_run(key: str, commands: list[str], leaves: bool) -> None:
    run = make_run("20260528-123456-orders", end=None)
    handle = take(run.lock_file)
    assert handle is not None
    with holding(handle):
        app = FtApp()
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.runs and app.runs[0].alive, "the run is seen alive")
            await pilot.press("ctrl+q")
            await until(pilot, lambda: isinstance(app.screen, Leave), "the question")
            await pilot.press("ctrl+q")  # asks no second time
            assert sum(isinstance(screen, Leave) for screen in app.screen_stack) == 1
            await pilot.press(key)
            if leaves:
                await until(pilot, lambda: app._exit, "the app ends")
            else:
                await until(pilot, lambda: app.screen is app.front, "the app goes on")
        given = [json.loads(path.read_text())["command"] for path in run.control.glob("*.json")]
        assert given == commands


async def test_leaving_app_with_download_speaks_of_no_training() -> None:
    download = Download("someone/tiny")
    run = download.create()
    run.emit(Phase(name="loading", note="finding someone/tiny"))
    handle = take(run.lock_file)
    assert handle is not None
    with holding(handle):
        app = FtApp()
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.runs and app.runs[0].alive, "the download is seen alive")
            assert "training" not in shown(app)
            await pilot.press("q")
            await until(pilot, lambda: isinstance(app.screen, Leave), "the question")
            await pilot.pause()
            text = shown(app)
            assert "download-someone-tiny is at work. Leave ft?" in text
            assert "checkpoint" not in text
            live = list(app.runs)
    assert "Resume: ft models pull someone/tiny" in farewell(live, stopped=True)


async def test_monitor_alone_leaves_without_question() -> None:
    """It has no other screen."""
    run = make_run("20260528-123456-orders", end=None)
    handle = take(run.lock_file)
    assert handle is not None
    with holding(handle):
        app = FtApp("monitor", run.id, only=True)
        async with app.run_test(size=(120, 36)) as pilot:
            await until(pilot, lambda: app.runs, "the run is seen")
            await pilot.press("1")
            await pilot.pause()
            assert app.scope == "monitor"
            await pilot.press("q")
            await until(pilot, lambda: app._exit, "the app ends")


async def test_service_child_ends_with_app() -> None:
    app = FtApp()
    async with app.run_test():
        child = app.service().transport.child
        assert child.poll() is None
    assert child.poll() is not None


async def test_leaving_app_waits_for_no_new_work() -> None:
    class EndsWhileItStarts(FtApp):
        """Looks outside in its last callbacks, as an app does that is told to end at its first picture."""

        CSS_PATH = str(Path(ft.app.__file__).with_name("app.tcss"))

        def on_unmount(self) -> None:  # type: ignore[override]  # Textual calls it, and then the one of the base
            self.watch_runs()
            self.watch_machine()

    app = EndsWhileItStarts()
    asyncio.get_running_loop().call_later(0.5, app.exit)
    await app.run_async(headless=True, size=(80, 24))  # a pilot would end it in another order
    try:
        async with asyncio.timeout(PATIENCE_S):
            while list(app.workers):
                await asyncio.sleep(0.01)
    finally:
        app.workers.cancel_all()
