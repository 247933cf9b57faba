"""The Runs screen as a picture at three sizes, and in its empty, damaged, compared and colourless states."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.runs.directory.events import Failed
from ft.app import FtApp
from screens import preferences
from screens.runs.compare import CompareScreen
from screens.runs.screen import RunsScreen
from tests.run_fixtures import STARTED, make_run

SIZES = [(80, 24), (120, 36), (200, 50)]
Snap = Callable[..., bool]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands, half an hour after every run's start; nothing is sampled or animated."""

    class Clock:
        @staticmethod
        def time() -> float:
            return STARTED + 1800

    monkeypatch.setattr("screens.runs.table.time", Clock)
    monkeypatch.setattr(FtApp, "watch_machine", lambda self: None)
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")


@pytest.fixture
def runs(ft_home: Path) -> None:
    make_run("20260106-000000-sql-helper", steps=60, start_loss=2.4, lr=2e-4)
    make_run("20260105-000000-sql-helper", steps=60, start_loss=3.1, rank=32)
    short = Failed(t=STARTED + 9, kind="data", message="No row can be trained.", hint="See data.train_on.")
    make_run("20260104-000000-orders", steps=4, end=short)
    make_run("20260103-000000-orders", steps=35, end=None)
    damaged = make_run("20260102-000000-lost", steps=12)
    (damaged.folder / "train.yml").unlink()
    make_run("20260101-000000-a-name-that-is-longer-than-its-column", steps=40)


def shown(count: int, *keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Wait for the list and its curves, press keys, and wait for what they bring."""

    async def prepare(pilot: Pilot[None]) -> None:
        for _ in range(200):
            await pilot.pause(0.02)
            screen = pilot.app.screen
            if isinstance(screen, RunsScreen) and len(screen.table.rows) == count:
                break
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        for key in keys:
            await pilot.press(key)
        for _ in range(200):
            await pilot.pause(0.02)
            screen = pilot.app.screen
            if isinstance(screen, CompareScreen) and screen.comparison:
                break
            if isinstance(screen, RunsScreen) and (not count or screen.settled):
                break
        await pilot.pause()

    return prepare


@pytest.mark.parametrize("size", SIZES)
def test_a_list_with_two_curves_overlaid(runs: None, snap_compare: Snap, size: tuple[int, int]) -> None:
    keys = ("space", "down", "space")
    assert snap_compare(FtApp("runs"), terminal_size=size, run_before=shown(6, *keys))


@pytest.mark.parametrize("size", SIZES[:2])
def test_the_best_by_two_metrics_in_order(ft_home: Path, snap_compare: Snap, size: tuple[int, int]) -> None:
    make_run("20260103-000000-right-half", steps=20, exact=(0.25, 0.5))
    make_run("20260102-000000-loss-alone", steps=20, start_loss=5.0)
    make_run("20260101-000000-right-most", steps=30, exact=(0.25, 0.8, 0.7))
    assert snap_compare(FtApp("runs"), terminal_size=size, run_before=shown(3, "o", "home", "down"))


@pytest.mark.parametrize("size", SIZES)
def test_no_runs_yet(snap_compare: Snap, size: tuple[int, int]) -> None:
    assert snap_compare(FtApp("runs"), terminal_size=size, run_before=shown(0))


@pytest.mark.parametrize("size", SIZES)
def test_two_runs_compared(runs: None, snap_compare: Snap, size: tuple[int, int]) -> None:
    keys = ("space", "down", "space", "c")
    assert snap_compare(FtApp("runs"), terminal_size=size, run_before=shown(6, *keys))


def test_the_chart_alone_where_it_is_narrow(runs: None, snap_compare: Snap) -> None:
    keys = ("space", "down", "space", "v")
    assert snap_compare(FtApp("runs"), terminal_size=(80, 24), run_before=shown(6, *keys))


@pytest.mark.parametrize("size", SIZES[:2])
def test_a_damaged_run_and_a_mistake_in_the_filter(
    runs: None, snap_compare: Snap, size: tuple[int, int]
) -> None:
    keys = ("slash", *"lost", "space", *"los", "less_than_sign", "1")
    assert snap_compare(FtApp("runs"), terminal_size=size, run_before=shown(6, *keys))


def test_without_colours(runs: None, snap_compare: Snap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    keys = ("space", "down", "space", "down")
    assert snap_compare(FtApp("runs"), terminal_size=(120, 36), run_before=shown(6, *keys))


def test_in_light(runs: None, snap_compare: Snap) -> None:
    preferences.save({"theme": "ft-light"})
    assert snap_compare(FtApp("runs"), terminal_size=(120, 36), run_before=shown(6, "space", "down", "space"))
