"""Downloads of the Models screen: runs that it starts, finds, follows and cancels; the hub is on this machine."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine import secrets
from engine.jobs.download import Download
from engine.models import starter
from engine.models.catalogue import Entry
from engine.runs.directory.events import Finished, Phase, Started
from engine.runs.directory.run import Run
from ft.app import FtApp
from screens.models.downloads import Pull
from screens.models.screen import ModelsScreen
from tests.app_pilot import shown, until
from tests.hub_server import COMMIT, Hub, serving, use_hub
from tests.test_models_download import REPO, TOKEN, begun, part, weights_asked
from tests.test_models_screen import ready, type_name


@pytest.fixture
def app() -> FtApp:
    return FtApp(start="models")


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(REPO, tiny_model)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        yield hub


async def halfway(pilot: Pilot[Any], hub: Hub) -> threading.Event:
    """Have the app download half of the weights; the rest comes when the event is set that this returns."""
    hub.hold = threading.Event()
    await type_name(pilot, REPO)
    await until(pilot, lambda: part(hub) > 0, "half of the weights")
    return hub.hold


async def cancel(pilot: Pilot[Any], screen: ModelsScreen) -> None:
    """Cancel the download, which ends although the hub says nothing."""
    await pilot.press("c")
    await until(pilot, lambda: screen.pull is None, "the end of it")


def about(entry: Entry) -> tuple[str, str, str | None]:
    return entry.state, entry.name, entry.revision


async def whole(pilot: Pilot[Any], screen: ModelsScreen) -> None:
    """Wait for the end of the download, and look for what is to be there then."""
    await until(pilot, lambda: screen.pull is None, "the end of the download")
    model = ("ready", REPO, COMMIT)
    await until(pilot, lambda: screen.chosen and about(screen.chosen.entry) == model, "the model chosen")
    assert not screen.query_one("#pull").has_class("-active")
    assert Run.all() == []


@pytest.mark.slow
async def test_typed_model_is_downloaded_and_chosen(app: FtApp, hub: Hub) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await type_name(pilot, REPO)
        assert "looking for" in shown(app)
        await whole(pilot, screen)
        assert not app.problems


@pytest.mark.slow
async def test_cancelled_download_is_resumed_later(app: FtApp, hub: Hub) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        hold = await halfway(pilot, hub)
        await until(pilot, lambda: "% " in shown(app), "its progress")
        (run,) = Run.all()
        await cancel(pilot, screen)
        hold.set()
        assert not screen.query_one("#pull").has_class("-active")
        assert (run.alive(), run.state().status) == (False, "stopped")
        have = part(hub)
        await type_name(pilot, REPO)
        await whole(pilot, screen)
        assert not app.problems
    assert weights_asked(hub) == ["", f"bytes={have}-"]


@pytest.mark.slow
async def test_download_outlives_app_and_next_one_follows_it(app: FtApp, hub: Hub) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        hold = await halfway(pilot, hub)
    (run,) = Run.all()
    assert run.alive()
    later = FtApp()
    async with later.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: later.runs, "the run is seen")
        await pilot.press("2")
        screen = await ready(pilot)
        await until(pilot, lambda: screen.pull, "the download of before")
        await until(pilot, lambda: "% " in shown(later), "its progress")
        hold.set()
        await whole(pilot, screen)
        assert not later.problems
    assert weights_asked(hub) == [""]


@pytest.mark.slow
async def test_download_of_terminal_is_followed_not_started_again(app: FtApp, hub: Hub) -> None:
    engine = begun(hub)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await type_name(pilot, REPO)  # perhaps before the run was found
        await until(pilot, lambda: f"downloading {REPO}" in shown(app), "its progress")
        await type_name(pilot, REPO)
        assert [run.id for run in Run.all()] == [engine.run.id]
        await type_name(pilot, "someone/else")
        await until(pilot, lambda: app.problems)
        assert app.problems[0].message == f"{REPO} is still downloading."
        assert [run.id for run in Run.all()] == [engine.run.id]
        await cancel(pilot, screen)
        assert hub.hold is not None
        hub.hold.set()
    assert engine.supervisor.wait() == 0
    assert engine.run.state().status == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
async def test_killed_download_is_reported_once(app: FtApp, hub: Hub, whole_group: bool) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        hold = await halfway(pilot, hub)
        (run,) = Run.all()
        pid = next(event.pid for event in run.events() if isinstance(event, Started))
        if whole_group:
            os.killpg(os.getpgid(pid), signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
        hold.set()
        await until(pilot, lambda: screen.pull is None, "the end of it")
        await until(pilot, lambda: app.runs and not app.runs[0].alive, "the run seen ended")
        await pilot.pause(1)
        (problem,) = app.problems
        assert problem.message == "The engine was ended by SIGKILL while loading."
        assert f"ft models pull {REPO}" in problem.hint
        assert "Traceback" not in problem.hint


@pytest.mark.slow
async def test_failed_download_shows_error_of_its_run(
    app: FtApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await type_name(pilot, "someone/far-away")
        await until(pilot, lambda: app.problems, "the error")
        assert "hub cannot be reached for someone/far-away" in app.problems[0].message
        assert "complete files are kept" in app.problems[0].hint
        assert screen.pull is None
        assert Run.all()[0].state().status == "failed"


@pytest.mark.slow
async def test_token_reaches_download_of_app(app: FtApp, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secrets.HF_TOKEN, TOKEN)
    hub.gated = True
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await type_name(pilot, REPO)
        await until(pilot, lambda: app.problems, "the error")
        assert f"{REPO} is gated." in app.problems[0].message
    assert f"Bearer {TOKEN}" in hub.tokens


async def test_folder_is_checked_without_engine(app: FtApp, tiny_model: Path, tmp_path: Path) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await type_name(pilot, str(tmp_path / "nothing"))
        await until(pilot, lambda: app.problems, "the error")
        assert "nothing" in app.problems[0].message
        await type_name(pilot, str(tiny_model))
        ready_now = f"{tiny_model} is ready."
        await until(pilot, lambda: ready_now in [toast.message for toast in app._notifications])
        assert screen.pull is None
        assert len(app.problems) == 1
    assert Run.all() == []


@pytest.mark.slow
async def test_starter_is_prepared_in_background(app: FtApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        await pilot.press("p")
        await until(pilot, lambda: screen.query_one("#pull").has_class("-active"))
        await until(pilot, lambda: screen.models[0].entry.state == "ready", "the starter ready")
        await until(pilot, lambda: "apache-2.0" in shown(app))
    assert starter.is_ready()


@pytest.mark.slow
def test_running_download_is_found_by_model_and_revision(hub: Hub) -> None:
    engine = begun(hub)
    running = Download(REPO).running()
    assert running is not None
    assert running.id == engine.run.id
    assert Download(REPO, "v1").running() is None
    engine.kill()
    assert Download(REPO).running() is None


def test_run_that_command_has_removed_was_completed(ft_home: Path) -> None:
    """The command and the app may both follow a run; whichever is first removes it."""
    download = Download(REPO)
    run = download.create()
    run.emit(Phase(name="loading", done=1, total=2, note="downloading"))
    pull = Pull(download, run)
    phase = pull.look()
    assert phase is not None
    assert (phase.done, phase.total) == (1, 2)
    assert not pull.alive
    run.emit(Finished(reason="completed", step=0))
    download.forget(run)
    assert pull.look() is None
    assert pull.end() == "completed"
