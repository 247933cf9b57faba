"""`ft train` and its companions with the real engine process and a tiny real model."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from engine.runs.directory import events as ev
from engine.runs.directory.run import Run
from tests.run_fixtures import make_run
from tests.terminal import FT, PATIENCE_S, Terminal, ft, until, write_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, list[ev.Event], str]:
    """A home with one finished run: the home, the events that `--json` printed, and stderr."""
    folder = tmp_path_factory.mktemp("trained")
    home = folder / "home"
    done = ft("train", write_recipe(folder, tiny_model), "--json", FT_HOME=str(home))
    assert done.returncode == 0, done.stderr
    told = [ev.decode(line.encode()) for line in done.stdout.splitlines()]
    assert None not in told
    return home, [event for event in told if event is not None], done.stderr


def test_json_is_the_events_and_nothing_else(trained: tuple[Path, list[ev.Event], str]) -> None:
    _, told, _ = trained
    assert isinstance(told[0], ev.Started)
    assert isinstance(told[-1], ev.Finished)
    assert told[-1].reason == "completed"
    assert [event.step for event in told if isinstance(event, ev.Step)] == list(range(1, 13))
    phases = [event.name for event in told if isinstance(event, ev.Phase)]
    assert phases.index("tokenising") < phases.index("training")


def test_a_run_beside_another_is_told_so(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FT_HOME", str(tmp_path / "home"))
    other = make_run("20261126-090000-other", end=None)
    with other.locked():
        done = ft("train", write_recipe(tmp_path, tiny_model), "--plain", FT_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert "20261126-090000-other trains on this machine too" in done.stdout + done.stderr


def test_end_of_run_says_what_next(trained: tuple[Path, list[ev.Event], str]) -> None:
    """It tells before and after too."""
    home, told, narration = trained
    run_id = told[0].run if isinstance(told[0], ev.Started) else ""
    assert "validation loss:" in narration
    assert str(home / "runs" / run_id / "adapter") in narration
    assert f"ft chat {run_id}" in narration


def test_a_finished_run_directory_is_whole(trained: tuple[Path, list[ev.Event], str]) -> None:
    home, _, _ = trained
    run = Run(next((home / "runs").iterdir()))
    assert run.plan is not None
    assert run.plan.steps == 12
    for key in ("id", "created", "command", "python", "versions", "machine", "model", "data"):
        assert run.provenance[key], key
    assert (run.adapter / "adapter_model.safetensors").is_file()
    assert list(run.control.iterdir()) == []
    assert not run.alive()


def test_list_and_show_tell_run_state(trained: tuple[Path, list[ev.Event], str]) -> None:
    home, _, _ = trained
    listed = json.loads(ft("runs", "list", "--json", FT_HOME=str(home)).stdout)
    assert [(run["status"], run["step"], run["total"]) for run in listed] == [("completed", 12, 12)]
    shown = json.loads(ft("runs", "show", "--json", FT_HOME=str(home)).stdout)
    assert shown["provenance"]["id"] == shown["id"] == listed[0]["id"]
    assert len(shown["evaluations"]) == 2
    text = ft("runs", "show", shown["id"], FT_HOME=str(home)).stdout
    assert "completed" in text
    assert "step-000012" in text
    assert shown["id"] in ft("runs", "list", FT_HOME=str(home)).stdout


def test_a_completed_run_has_nothing_to_resume(trained: tuple[Path, list[ev.Event], str]) -> None:
    home, told, _ = trained
    run_id = next(event.run for event in told if isinstance(event, ev.Started))
    done = ft("train", "--resume", run_id, FT_HOME=str(home))
    assert done.returncode == 2
    assert "nothing is left" in done.stderr


def test_attaching_to_finished_run_shows_it(trained: tuple[Path, list[ev.Event], str]) -> None:
    home, told, _ = trained
    done = ft("attach", "--json", FT_HOME=str(home))
    assert done.returncode == 0
    assert [ev.decode(line.encode()) for line in done.stdout.splitlines()] == told


def test_ctrl_c_once_leaves_a_checkpoint(tmp_path: Path, tiny_model: Path) -> None:
    """Resuming goes on from it."""
    recipe = write_recipe(tmp_path, tiny_model, steps=60, checkpoints={"every": 1000})
    terminal = Terminal("train", recipe)
    terminal.wait_for("tokens/s")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    assert "ctrl-c again" in terminal.shown
    assert "ft train --resume" in terminal.shown
    run = Run.open()
    stopped = run.state()
    assert stopped.status == "stopped"
    assert 0 < stopped.step < 60
    assert [path.name for path in run.checkpoints.glob("step-*")] == [f"step-{stopped.step:06d}"]

    done = ft("train", "--resume", run.id[:-2], "--json")
    assert done.returncode == 0, done.stderr
    told = [ev.decode(line.encode()) for line in done.stdout.splitlines()]
    started = told[0]
    assert isinstance(started, ev.Started)
    assert started.resumed_from == stopped.step
    assert [e.step for e in told if isinstance(e, ev.Step)] == list(range(stopped.step + 1, 61))
    assert run.state().status == "completed"


def test_ctrl_c_twice_ends_run_at_once(tmp_path: Path, tiny_model: Path) -> None:
    terminal = Terminal("train", write_recipe(tmp_path, tiny_model, steps=5000))
    terminal.wait_for("tokenising")
    terminal.press(b"\x03")
    terminal.wait_for("ctrl-c again")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    run = Run.open()
    assert not run.alive()
    assert run.state().status == "stopped"


def test_killed_engine_says_what_to_do(tmp_path: Path, tiny_model: Path) -> None:
    import subprocess

    recipe = write_recipe(tmp_path, tiny_model, steps=5000)
    process = subprocess.Popen([*FT, "train", str(recipe), "--plain"], stderr=subprocess.PIPE, text=True)
    pid = worker_pid()
    os.kill(pid, signal.SIGKILL)
    _, narration = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 6
    assert "SIGKILL" in narration
    assert "ft train --resume" in narration
    state = Run.open().state()
    assert state.status == "failed"
    assert state.error is not None
    assert state.error.kind == "training"


def test_detached_run_is_watched_and_stopped(tmp_path: Path, tiny_model: Path) -> None:
    """It can be left in between."""
    recipe = write_recipe(tmp_path, tiny_model, steps=100_000)
    done = ft("train", recipe, "--detach")
    run_id = done.stdout.strip()
    assert done.returncode == 0, done.stderr
    run = Run.open(run_id)
    assert run.alive()

    again = ft("train", "--resume", run_id)
    assert again.returncode == 2
    assert "training already" in again.stderr
    removed = ft("runs", "rm", run_id, "--yes")
    assert removed.returncode == 2
    assert "ft stop" in removed.stderr

    terminal = Terminal("attach", run_id)
    terminal.wait_for("tokens/s")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    assert "the run continues" in terminal.shown
    assert run.alive()

    stopped = ft("stop", run_id[:10])
    assert stopped.returncode == 0, stopped.stderr
    state = run.state()
    assert state.status == "stopped"
    assert (run.checkpoints / f"step-{state.step:06d}").is_dir()
    assert ft("stop").returncode == 2
    assert ft("runs", "rm", run_id, "--yes").returncode == 0
    assert Run.all() == []


def test_run_without_engine_and_supervisor_is_crashed(tmp_path: Path, tiny_model: Path) -> None:
    run_id = ft("train", write_recipe(tmp_path, tiny_model, steps=5000), "--detach").stdout.strip()
    os.killpg(os.getpgid(worker_pid()), signal.SIGKILL)
    run = Run.open(run_id)
    until(lambda: not run.alive(), "the lock is free")
    with run.log.open("a") as log:
        log.write("the last thing it said\n")
    assert run.state().status == "crashed"
    done = ft("attach", run_id)
    assert done.returncode == 6
    assert "crashed (no exit message)" in done.stderr
    assert "the last thing it said" in done.stderr


def test_engine_short_of_memory_restarts_smaller(tmp_path: Path, tiny_model: Path) -> None:
    recipe = write_recipe(
        tmp_path, tiny_model, steps=30, training={"batch_size": 4, "effective_batch_size": 4}
    )
    run_id = ft("train", recipe, "--detach").stdout.strip()
    run = Run.open(run_id)
    until(lambda: run.state().step >= 6, "six steps")
    from engine.runs.directory import control

    control.send(run, "pause")
    until(lambda: run.state().status == "paused", "paused")  # so that nobody else writes events
    plan = run.plan
    assert plan is not None
    run.emit(ev.Memory(process_bytes=plan.limit_bytes, process_peak_bytes=plan.limit_bytes))
    os.kill(worker_pid(), signal.SIGKILL)

    done = ft("attach", run_id, "--json")
    assert done.returncode == 0, done.stderr
    starts = [event for event in run.events() if isinstance(event, ev.Started)]
    assert len(starts) == 2
    assert (starts[1].resumed_from or 0) >= 5
    warnings = [event.message for event in run.events() if isinstance(event, ev.Warned)]
    assert any("starts again from step-" in message for message in warnings)
    smaller = run.plan
    assert smaller is not None
    assert smaller.micro_batch_rows == plan.micro_batch_rows // 2
    assert run.state().step == 30


def test_shell_short_of_memory_gets_advice(tmp_path: Path, tiny_model: Path) -> None:
    """The advice comes before anything loads."""
    recipe = write_recipe(tmp_path, tiny_model, training={"batch_size": "auto"})
    done = limited("ulimit -v 400000", recipe)
    assert done.returncode == 5, done.stderr
    assert "memory" in done.stderr
    assert not any(isinstance(event, ev.Step) for event in Run.open().events())


def test_full_disk_ends_run_with_code_7(tmp_path: Path, tiny_model: Path) -> None:
    done = limited("ulimit -f 24", write_recipe(tmp_path, tiny_model))
    assert done.returncode == 7, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(Run.open().checkpoints.glob("step-*"))


def limited(limit: str, recipe: Path):  # type: ignore[no-untyped-def]
    """`ft train` in a shell with a limit."""
    import subprocess

    return subprocess.run(
        ["bash", "-c", f'{limit} && exec "$@"', "bash", *FT, "train", str(recipe)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def worker_pid() -> int:
    """The pid of the latest run's engine, once it has started."""

    def started() -> int | None:
        pids = [e.pid for run in Run.all()[:1] for e in run.events() if isinstance(e, ev.Started)]
        return pids[-1] if pids else None

    pid = until(started, "the engine has started")
    assert isinstance(pid, int)
    assert pid != os.getpid()
    return pid


assert sys.platform != "win32", "ft runs on Linux and macOS"
