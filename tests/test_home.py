"""Home: what the machine can train, the recent runs, and the one next thing to do."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from engine.planning.largest_model import LADDER, largest_trainable
from engine.runs.directory import registry
from engine.runs.directory.events import Failed, Finished
from engine.runs.directory.lock import holding, take
from engine.runs.index.index import Index
from ft.app import FtApp
from screens.home.next_step import next_step
from screens.home.screen import HomeScreen
from screens.run_row import row
from tests.app_pilot import MACHINE, NOW, freeze, until
from tests.run_fixtures import STARTED, make_run

SIZES = [(80, 24), (120, 36), (200, 50)]


def some_runs() -> None:
    """One run of each kind, as a person has them after a week."""
    make_run("20260528-120000-orders", steps=120)
    make_run("20260528-121000-sql-helper", steps=40, end=Finished(t=STARTED + 41, reason="stopped", step=40))
    failed = Failed(t=STARTED + 4, kind="memory", message="Out of memory at one row of 2048 tokens.")
    make_run("20260528-122000-a-rather-long-name-of-a-run", steps=3, end=failed)
    make_run("20260528-123000-tickets", steps=80, end=None)
    make_run("20260528-124000-recipes", steps=60)


async def listed(pilot: Pilot[Any], count: int) -> OptionList:
    """The list of recent runs, once it has so many."""
    options = pilot.app.screen.query_one("#runs", OptionList)
    await until(pilot, lambda: options.option_count == count, f"{count} runs are listed")
    return options


def test_unreadable_run_folder_is_listed_damaged() -> None:
    """As in the list of runs."""
    run = make_run("20260528-123456-orders", end=None)
    run.events_file.unlink()
    run.events_file.mkdir()
    assert row(Index().refresh()[0], 60, NOW).startswith("! damaged")


def test_run_that_is_being_made_is_not_damaged() -> None:
    """Its folder is there a moment before its recipe, or its job, is in it; Home has nothing to propose of it."""
    registry.claim("evaluate-orders", None)
    (run,) = Index().refresh()
    assert not run.damaged
    assert next_step((run,), None).act == "starter"


# The one next thing


def test_first_run_without_recipe_is_starter() -> None:
    assert next_step((), None).act == "starter"


def test_first_run_uses_folders_recipe() -> None:
    step = next_step((), Path("/here/train.yml"))
    assert step.act == "recipe"
    assert "train.yml" in step.title


def test_completed_run_leads_to_chat() -> None:
    run = make_run("20260528-123456-orders")
    step = next_step(Index().refresh(), None)
    assert (step.act, step.target) == ("chat", run.id)


@pytest.mark.parametrize("end", [None, Finished(reason="stopped", step=20)])
def test_stopped_or_dead_run_leads_to_resume(end: Finished | None) -> None:
    run = make_run("20260528-123456-orders", end=end)
    step = next_step(Index().refresh(), None)
    assert (step.act, step.target) == ("resume", run.id)
    assert "step 20" in step.why


def test_failed_run_leads_to_its_reason() -> None:
    failed = Failed(kind="data", message="No row has an answer.", hint="Look at the format.")
    make_run("20260528-123456-orders", end=failed)
    step = next_step(Index().refresh(), None)
    assert step.act == "watch"
    assert "No row has an answer." in step.why


def test_live_run_comes_first() -> None:
    live = make_run("20260528-123456-orders", end=None)
    make_run("20260528-123457-later")
    handle = take(live.lock_file)
    assert handle is not None
    with holding(handle):
        step = next_step(Index().refresh(), None)
    assert (step.act, step.target) == ("watch", live.id)


# What this machine can train


def test_more_memory_never_shrinks_trainable_model() -> None:
    order = [size for size, *_ in LADDER]
    before: dict[str, str] = {}
    for gigabytes in (2, 8, 24, 64, 200):
        size = gigabytes * 10**9
        now = largest_trainable(dataclasses.replace(MACHINE, ram_bytes=size, available_bytes=size))
        assert all(order.index(now[method]) >= order.index(size) for method, size in before.items())
        before = now
    assert order.index(before["QLoRA"]) >= order.index(before["LoRA"]) >= order.index(before["full"])


def test_no_free_memory_trains_no_model() -> None:
    assert largest_trainable(dataclasses.replace(MACHINE, available_bytes=300 << 20)) == {}


# The list of runs


@pytest.mark.parametrize("width", [30, 44, 60, 90, 150])
def test_run_row_fits_and_names_state(width: int) -> None:
    some_runs()
    for run in Index().refresh():
        line = row(run, width, NOW)
        assert len(line) <= max(width, 34)
        assert run.state.status in line


# In the app


async def test_three_keys_start_first_recipe(folder: Path) -> None:
    app = FtApp()
    async with app.run_test(size=(80, 24)) as pilot:
        home = app.screen
        assert isinstance(home, HomeScreen)
        await until(pilot, lambda: home._next, "a next step is proposed")
        await pilot.press("enter")
        await until(pilot, lambda: app.scope == "recipe", "the recipe is open")


async def test_enter_shows_live_run() -> None:
    live = make_run("20260528-123456-orders", end=None)
    handle = take(live.lock_file)
    assert handle is not None
    with holding(handle):
        app = FtApp()
        async with app.run_test(size=(80, 24)) as pilot:
            home = app.screen
            assert isinstance(home, HomeScreen)
            await until(pilot, lambda: home._next and home._next.act == "watch", "it is proposed")
            await pilot.press("enter")
            await until(pilot, lambda: app.scope == "monitor", "Monitor is in front")


async def test_arrow_and_enter_open_listed_run() -> None:
    some_runs()
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        options = await listed(pilot, 5)
        await pilot.press("down")
        assert app.focused is options
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.scope == "monitor", "Monitor is in front")


async def test_highlighted_run_stays_when_others_come() -> None:
    some_runs()
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        options = await listed(pilot, 5)
        options.highlighted = 2
        chosen = options.get_option_at_index(2).id
        make_run("20260529-123456-newer")
        await until(pilot, lambda: options.option_count == 6, "the new run is listed")
        assert options.highlighted == 3
        assert options.get_option_at_index(3).id == chosen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["ft-dark", "ft-light", "ft-contrast"])
def test_home_looks(
    snap_compare: Any, size: tuple[int, int], theme: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if theme != "ft-dark" and size != (80, 24):
        pytest.skip("themes are compared at one size")
    freeze(monkeypatch)
    some_runs()
    app = FtApp()

    async def ready(pilot: Any) -> None:
        app.change(theme=theme)
        await until(pilot, lambda: app.screen._ability and app.runs and app.samples, "all is there")
        await pilot.pause(0.1)

    assert snap_compare(app, terminal_size=size, run_before=ready)


def test_an_empty_home_looks(snap_compare: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze(monkeypatch)
    app = FtApp()

    async def ready(pilot: Any) -> None:
        await until(pilot, lambda: app.screen._ability and app.screen._next and app.samples, "all is there")
        await pilot.pause(0.1)

    assert snap_compare(app, terminal_size=(80, 24), run_before=ready)


def test_home_without_colours_looks(snap_compare: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    freeze(monkeypatch)
    some_runs()
    app = FtApp()

    async def ready(pilot: Any) -> None:
        await until(pilot, lambda: app.screen._ability and app.runs and app.samples, "all is there")
        await pilot.pause(0.1)

    assert snap_compare(app, terminal_size=(80, 24), run_before=ready)
