"""`ft models pull` as a run: whole, cancelled, killed and taken up again, offline; what is left of it in the list."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import secrets
from engine.errors import ConfigError, TrainingError
from engine.jobs.base import TELL_EVERY_S
from engine.jobs.download import Download
from engine.process.launcher import Engine, outcome, start
from engine.runs.directory import control
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Phase, Started
from engine.runs.directory.run import Run
from ft import watch
from ft.cli import main
from ft.progress_bar import FetchingView
from tests.hub_server import COMMIT, Hub, serving, use_hub
from tests.terminal import Terminal

REPO = "someone/tiny-llama"
TOKEN = "hf_notARealOne0123456789"


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(REPO, tiny_model)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        yield hub


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def begun(hub: Hub) -> Engine:
    """A download of which half of the weights has come; the hub holds the rest back."""
    hub.hold = threading.Event()
    engine = start(Download(REPO).create())
    assert hub.halfway.wait(60)
    until(lambda: part(hub) > 0)
    return engine


def part(hub: Hub) -> int:
    """Bytes of the weights that are in the cache, not whole yet."""
    return sum(path.stat().st_size for path in Path(os.environ["HF_HUB_CACHE"]).rglob("*.part"))


def weights_asked(hub: Hub) -> list[str]:
    """The ranges of the weights that were requested, in order."""
    return [ranged for verb, path, ranged in hub.requests if verb == "GET" and path.endswith(".safetensors")]


def listed(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """Kind and status of the runs that `ft runs list` shows."""
    capsys.readouterr()
    assert main(["runs", "list", "--json"]) == 0
    return [(run["kind"], run["status"]) for run in json.loads(capsys.readouterr().out)]


def pulled(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["models", "pull", REPO]) == 0
    return capsys.readouterr().out.strip()


@pytest.mark.slow
def test_completed_download_leaves_no_run(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", REPO]) == 0
    said = capsys.readouterr()
    folder = Path(said.out.strip())
    assert folder.name == COMMIT
    assert (folder / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    assert f"{REPO} is ready at revision {COMMIT}." in said.err
    assert f"downloading {REPO}" in said.err
    assert "completed" not in said.err
    assert listed(capsys) == []
    assert pulled(capsys) == str(folder)
    assert len(weights_asked(hub)) == 1


@pytest.mark.slow
def test_download_run_has_kind_lock_and_progress(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    engine = begun(hub)
    assert listed(capsys) == [("download", "running")]
    with pytest.raises(ConfigError, match="is at work already"):
        start(engine.run)
    assert hub.hold is not None
    hub.hold.set()
    assert engine.supervisor.wait() == 0
    phases = [event for event in engine.run.events() if isinstance(event, Phase) and event.total]
    assert phases[-1].done == phases[-1].total
    assert len(phases) - 3 <= (phases[-1].t - phases[0].t) / TELL_EVERY_S
    assert {phase.name for phase in phases} == {"loading"}
    assert phases[-1].note == f"downloading {REPO}"


@pytest.mark.slow
def test_stopped_download_is_resumed_by_next(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    engine = begun(hub)
    control.send(engine.run, "stop")
    assert engine.supervisor.wait() == 0, "while the hub is silent"
    assert hub.hold is not None
    hub.hold.set()
    assert listed(capsys) == [("download", "stopped")]
    assert engine.run.how_to_resume == f"Resume: ft models pull {REPO}"
    have = part(hub)
    assert have > 0
    assert Path(pulled(capsys)).name == COMMIT
    assert weights_asked(hub) == ["", f"bytes={have}-"]
    assert listed(capsys) == []


@pytest.mark.slow
def test_ctrl_c_stops_download_with_resume_hint(hub: Hub) -> None:
    hub.hold = threading.Event()
    terminal = Terminal("models", "pull", REPO)
    assert hub.halfway.wait(60)
    until(lambda: part(hub) > 0)
    terminal.press(b"\x03")
    terminal.wait_for("ctrl-c again")
    terminal.wait_for(f"ft models pull {REPO}")  # although the hub says nothing
    hub.hold.set()
    assert terminal.end() == 130


@pytest.mark.slow
def test_pull_follows_the_download_that_is_under_way(hub: Hub) -> None:
    engine = begun(hub)
    terminal = Terminal("models", "pull", REPO)
    terminal.wait_for("is being downloaded already")
    terminal.press(b"\x03")
    terminal.wait_for("the run continues")
    assert terminal.end() == 130
    assert engine.run.alive()
    terminal = Terminal("models", "pull", REPO)
    terminal.wait_for("is being downloaded already")
    assert hub.hold is not None
    hub.hold.set()
    terminal.wait_for(f"{REPO} is ready")
    assert terminal.end() == 0
    assert weights_asked(hub) == [""]
    assert Run.all() == []


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
def test_killed_download_is_resumed_by_next(
    hub: Hub, capsys: pytest.CaptureFixture[str], whole_group: bool
) -> None:
    engine = begun(hub)
    if whole_group:
        engine.kill()
    else:
        os.kill(next(e.pid for e in engine.run.events() if isinstance(e, Started)), signal.SIGKILL)
    assert hub.hold is not None
    hub.hold.set()
    with pytest.raises(TrainingError, match=r"crashed|SIGKILL") as error:
        outcome(engine.run, engine.since, None if whole_group else engine.supervisor.wait())
    assert f"ft models pull {REPO}" in error.value.hint
    assert listed(capsys) == [("download", "crashed" if whole_group else "failed")]
    have = part(hub)
    assert Path(pulled(capsys)).name == COMMIT
    assert weights_asked(hub)[1:] == [f"bytes={have}-"]
    assert listed(capsys) == []


@pytest.mark.slow
def test_download_without_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pulled(capsys)
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    assert pulled(capsys) == folder
    assert main(["models", "pull", "someone/far-away"]) == 4
    said = capsys.readouterr()
    assert said.out == ""
    assert "hub cannot be reached for someone/far-away" in said.err
    assert "complete files are kept" in said.err
    assert listed(capsys) == [("download", "failed")]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["models", "pull", "someone/else"]) == 4
    assert "HF_HUB_OFFLINE forbids" in capsys.readouterr().err


@pytest.mark.slow
def test_token_reaches_engine_but_no_file(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(secrets.HF_TOKEN, TOKEN)
    hub.gated = True
    assert main(["models", "pull", REPO]) == 4
    said = capsys.readouterr().err
    assert f"{REPO} is gated." in said
    assert "Accept its terms" in said
    assert f"Bearer {TOKEN}" in hub.tokens
    (run,) = Run.all()
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


@pytest.mark.slow
def test_app_may_remove_completed_run_first(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It follows the run of the command."""
    follow_to_end = watch.follow_to_end

    def late(engine: Engine, *rest: Any) -> int:
        assert engine.supervisor.wait() == 0
        Download(REPO).forget(engine.run)
        return follow_to_end(engine, *rest)

    monkeypatch.setattr(watch, "follow_to_end", late)
    assert Path(pulled(capsys)).name == COMMIT


def test_local_model_folder_needs_no_engine(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", str(tiny_model)]) == 0
    assert capsys.readouterr().out.strip() == str(tiny_model)
    assert main(["models", "pull", "starter", "--revision", "v1"]) == 4
    assert Run.all() == []


def test_damaged_job_file_is_named(ft_home: Path) -> None:
    with pytest.raises(ConfigError, match=r"job\.json is damaged"):
        Download.of(create_job("download", "download-x", {"model": 3}))


def test_only_ended_downloads_are_removed(ft_home: Path) -> None:
    earlier, other = Download(REPO).create(), Download(REPO, "v1").create()
    for run in (earlier, other):
        run.emit(Phase(name="loading"))
        os.utime(run.events_file, (1, 1))
    last, later = Download(REPO).create(), Download(REPO).create()
    Download(REPO).forget(last)
    assert {run.id for run in Run.all()} == {other.id, later.id}


def test_download_phases_become_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with FetchingView() as view:
        view.show(Started(run="x", pid=1))
        view.show(Phase(name="loading", note="finding x"))
        view.show(Phase(name="loading", done=1, total=2, note="downloading x"))
    assert capsys.readouterr().err == "loading 1/2: downloading x\n"
