"""Monitor as a person uses it: a run is followed, told what to do, looked at closely, and may vanish."""

import random
import shutil
from pathlib import Path

import pytest
from textual.widgets import Log, Static, TabbedContent

from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Acknowledged, Eval, Finished, Sample, Started, Warned
from screens.actions import actions_of
from screens.charts.widget import Chart
from screens.monitor.news import NewsPane, SamplesPane
from screens.monitor.screen import MonitorScreen
from screens.widgets.confirm import Confirm
from tests.monitor_app import StillApp, all_read, engine, laptop, until
from tests.run_fixtures import STARTED, make_run, step

OLD, RUN = "20260101-000000-older", "20260102-000000-sql-helper"
SIZE = (120, 36)


def text(app: StillApp, selector: str) -> str:
    return str(app.monitor.query_one(selector, Static).content)


def pane_text(pane: SamplesPane | NewsPane) -> str:
    return str(pane.query_one(Static).content)


async def test_every_monitor_action_has_method() -> None:
    for action in actions_of("monitor"):
        assert callable(getattr(MonitorScreen, f"action_{action.method}"))


async def test_requested_run_is_shown_whole(ft_home: Path) -> None:
    make_run(RUN, steps=100)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        loss = app.monitor.query_one("#first", Chart)
        assert [len(line.series) for line in loss.lines] == [100, 100, 10]
        assert [mark.symbol for mark in loss.marks].count("▲") == 10
        assert [mark.symbol for mark in loss.marks].count("◆") == 1
        assert "✓ completed" in text(app, "#headline")
        assert "step 100/100" in text(app, "#progress")
        assert "best" in text(app, "#results")


async def test_events_appear_as_they_are_written(ft_home: Path) -> None:
    run = make_run(RUN, steps=5, end=None)
    with engine(run):
        app = StillApp(run=RUN)
        async with app.run_test(size=SIZE) as pilot:
            await all_read(pilot)
            assert "● training" in text(app, "#headline")
            run.emit(step(6, 1.25, total=100))
            run.emit(Eval(t=STARTED + 6, step=6, loss=1.5, perplexity=4.4, best=True))
            run.emit(Sample(t=STARTED + 6, step=6, prompt="How many singers?", text="SELECT count(*)"))
            run.emit(Warned(t=STARTED + 6, message="The loss is high.", hint="Look at the data."))
            run.log.write_text("a line of the engine's log\n")
            await until(pilot, lambda: "1 warning" in text(app, "#headline"))
            await until(
                pilot, lambda: any("engine's log" in line for line in app.monitor.query_one(Log).lines)
            )
            assert "step 6/100" in text(app, "#progress")
            assert "SELECT count(*)" in pane_text(app.monitor.query_one(SamplesPane))
            assert "Look at the data." in pane_text(app.monitor.query_one(NewsPane))


async def test_only_a_training_is_shown_unasked(ft_home: Path) -> None:
    """A download has nothing to draw; it is shown when requested."""
    download = create_job("download", "download-tiny", {"model": "tiny"})
    app = StillApp()
    async with app.run_test(size=SIZE) as pilot:
        with engine(download), engine(make_run(RUN, steps=5, end=None)):
            await until(pilot, lambda: sum(summary.alive for summary in app.runs) == 2)
            await until(pilot, lambda: app.monitor.view is not None and app.monitor.view.run_id == RUN)
            app.monitor.show(download.id)
            await until(
                pilot, lambda: app.monitor.view is not None and app.monitor.view.run_id == download.id
            )


async def test_live_run_shows_and_keeps_place(ft_home: Path) -> None:
    """Others do not take its place."""
    app = StillApp()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(0.1)
        assert app.monitor.view is None
        run = make_run(RUN, steps=5, end=None)
        with engine(run):
            await until(pilot, lambda: app.monitor.view is not None and app.monitor.view.run_id == RUN)
            later = make_run("20260103-000000-later", steps=5, end=None)
            with engine(later):
                await until(pilot, lambda: sum(summary.alive for summary in app.runs) == 2)
                await pilot.pause(0.2)
                assert app.monitor.view is not None
                assert app.monitor.view.run_id == RUN


async def test_pause_resume_save_reach_engine(ft_home: Path) -> None:
    """Its answer is shown."""
    run = make_run(RUN, steps=5, end=None)
    with engine(run) as control:
        app = StillApp(run=RUN)
        async with app.run_test(size=SIZE) as pilot:
            await all_read(pilot)
            await pilot.press("p")
            await until(pilot, lambda: "‖ paused" in text(app, "#headline"))
            await until(pilot, lambda: app.monitor.follower.waiting == {})
            await pilot.press("p")
            await until(pilot, lambda: "● training" in text(app, "#headline"))
            await pilot.press("s")
            await until(pilot, control.take_save_request)
    said = [event.command for event in run.events() if isinstance(event, Acknowledged)]
    assert said == ["pause", "resume", "save"]


async def test_stopping_run_asks_and_enter_declines(ft_home: Path) -> None:
    run = make_run(RUN, steps=5, end=None)
    with engine(run) as control:
        app = StillApp(run=RUN)
        async with app.run_test(size=SIZE) as pilot:
            await all_read(pilot)
            await pilot.press("x")
            await until(pilot, lambda: isinstance(app.screen, Confirm))
            await pilot.press("enter")
            await until(pilot, lambda: not isinstance(app.screen, Confirm))
            assert not control.stop_requested
            await pilot.press("x")
            await until(pilot, lambda: isinstance(app.screen, Confirm))
            await pilot.press("y")
            await until(pilot, lambda: control.stop_requested)


async def test_live_run_keys_ignore_ended_run(ft_home: Path) -> None:
    run = make_run(RUN)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        await pilot.press("p", "s", "x")
        await pilot.pause(0.1)
        assert not isinstance(app.screen, Confirm)
        assert list(run.control.iterdir()) == []


async def test_brackets_go_from_run_to_run(ft_home: Path) -> None:
    make_run(OLD)
    make_run(RUN)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        await until(pilot, lambda: len(app.runs) == 2)
        await pilot.press("left_square_bracket")
        await all_read(pilot)
        assert "older" in text(app, "#headline")
        await pilot.press("right_square_bracket")
        await all_read(pilot)
        assert "sql-helper" in text(app, "#headline")
        await pilot.press("m")
        assert "the machine" in text(app, "#headline")
        await pilot.press("m")
        await all_read(pilot)
        assert "sql-helper" in text(app, "#headline")


async def test_removed_run_folder_is_reported_gone(ft_home: Path) -> None:
    run = make_run(RUN, steps=50)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        shutil.rmtree(run.folder)
        await until(pilot, lambda: "its folder is gone" in text(app, "#headline"))
        assert "no exit message" not in text(app, "#headline")  # which nobody can know now
        assert len(app.monitor.query_one("#first", Chart).lines[0].series) == 50
        await pilot.press("z", "i", "e", "l", "t", "a")


@pytest.mark.parametrize("seed", range(3))
async def test_monitor_survives_random_bytes_in_run(ft_home: Path, seed: int) -> None:
    run = make_run(RUN, steps=50, end=None)
    noise = random.Random(seed).randbytes(20_000)
    for path in (run.events_file, run.log):
        with path.open("ab") as file:
            file.write(noise + b"\n")
    (run.folder / "plan.json").write_bytes(noise)
    run.emit(step(51, 1.0, total=100))
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        assert "step 51/100" in text(app, "#progress")
        app.monitor.query_one("#tabs", TabbedContent).active = "log-tab"
        await pilot.pause(0.1)


async def test_missing_run_is_error_with_hint(ft_home: Path) -> None:
    app = StillApp(run="20260101-000000-nothing")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: len(app.problems) == 1)
        assert app.problems[0].hint


async def test_resumed_run_goes_on_from_checkpoint(ft_home: Path) -> None:
    run = make_run(RUN, steps=20)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        run.emit(Started(t=STARTED + 100, run=RUN, pid=2, resumed_from=10))
        run.emit(step(11, 1.0, total=20, t=STARTED + 101))
        await until(pilot, lambda: "step 11/20" in text(app, "#progress"))
        loss = app.monitor.query_one("#first", Chart)
        assert len(loss.lines[0].series) == 11
        assert "↻" in [mark.symbol for mark in loss.marks]
        run.emit(Finished(t=STARTED + 102, reason="stopped", step=11))
        await until(pilot, lambda: "■ stopped" in text(app, "#headline"))


async def test_monitor_catches_up_after_being_away(ft_home: Path) -> None:
    run = make_run(RUN, steps=5, end=None)
    app = StillApp(run=RUN)
    async with app.run_test(size=SIZE) as pilot:
        await all_read(pilot)
        monitor = app.monitor
        await pilot.press("1")
        await pilot.pause(0.1)
        for number in range(6, 400):
            run.emit(step(number, 1.0, total=500))
        await until(pilot, lambda: monitor.view is not None and monitor.view.state.step == 399)
        await pilot.press("5")
        await until(pilot, lambda: "step 399/500" in text(app, "#progress"))


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (99, 30), (160, 40), (200, 50), (30, 8)])
async def test_monitor_works_at_every_size(ft_home: Path, size: tuple[int, int]) -> None:
    make_run(RUN, steps=30)
    app = StillApp(laptop(), run=RUN)
    async with app.run_test(size=size) as pilot:
        await all_read(pilot)
        await pilot.press("v", "v", "v", "v", "g", "g", "m")
        await pilot.resize_terminal(120, 36)
        await pilot.pause(0.1)
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)


def test_docs_list_every_monitor_key() -> None:
    page = (Path(__file__).parent.parent / "docs" / "monitor.md").read_text(encoding="utf-8")
    signs = {
        "plus": "+",
        "minus": "-",
        "left": "←",
        "right": "→",
        "left_square_bracket": "[",
        "right_square_bracket": "]",
    }
    for action in actions_of("monitor"):
        for key in action.keys.split(","):
            if key != "equals_sign":  # where + needs shift
                assert f"`{signs.get(key, key)}`" in page, action.id
