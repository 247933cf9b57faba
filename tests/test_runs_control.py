"""Commands to a running engine, by files and by signals."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from engine.config.load import load_text
from engine.runs.directory import control
from engine.runs.directory.control import Control
from engine.runs.directory.create import create_run
from engine.runs.directory.events import Acknowledged, Warned
from engine.runs.directory.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(load_text("model: {base: starter}\ndata: {train: starter}\n", tmp_path / "train.yml"))


def acknowledged(run: Run) -> list[str]:
    return [event.command for event in run.events() if isinstance(event, Acknowledged)]


def test_stop_is_taken_acknowledged_and_removed(run: Run) -> None:
    command_id = control.send(run, "stop")
    engine = Control(run)
    assert not engine.stop_requested
    engine.poll()
    assert engine.stop_requested
    assert [e.id for e in run.events() if isinstance(e, Acknowledged)] == [command_id]
    assert list(run.control.iterdir()) == []


def test_a_save_is_taken_once(run: Run) -> None:
    engine = Control(run)
    control.send(run, "save")
    assert not engine.take_save_request()
    engine.poll()
    assert engine.take_save_request()
    assert not engine.take_save_request()


@pytest.mark.parametrize("ending", ["resume", "stop"])
def test_paused_engine_waits_for_resume_or_stop(run: Run, ending: control.Command) -> None:
    engine = Control(run)
    control.send(run, "pause")
    waiting = threading.Thread(target=engine.poll)
    waiting.start()
    until = time.monotonic() + 10
    while acknowledged(run) != ["pause"] and time.monotonic() < until:
        time.sleep(0.01)
    assert waiting.is_alive()
    control.send(run, ending)
    waiting.join(timeout=10)
    assert not waiting.is_alive()
    assert acknowledged(run) == ["pause", ending]
    assert engine.stop_requested == (ending == "stop")


def test_commands_are_taken_in_given_order(run: Run) -> None:
    control.send(run, "pause")
    control.send(run, "resume")
    control.send(run, "save")
    Control(run).poll()
    assert acknowledged(run) == ["pause", "resume", "save"]


def test_junk_commands_are_warned_about_and_removed(run: Run) -> None:
    """Commands beside the junk still work."""
    (run.control / "note.txt").write_text("stop please")
    (run.control / "a.json").write_text('{"command": "explode"}')
    (run.control / "b.json").write_bytes(b"\xff\xfe")
    (run.control / "c.json").write_text("[" * 5000)
    (run.control / "d.json").mkdir()
    (run.control / "d.json" / "inside").write_text("x")
    (run.control / "e.json").symlink_to("/nowhere")
    control.send(run, "save")
    engine = Control(run)
    engine.poll()
    engine.poll()
    assert len([event for event in run.events() if isinstance(event, Warned)]) == 6
    assert list(run.control.iterdir()) == []
    assert engine.take_save_request()


def test_half_written_command_is_left_alone(run: Run) -> None:
    half = run.control / ".1.json.abc"
    half.write_text('{"comm')
    Control(run).poll()
    assert half.exists()
    assert list(run.events()) == []


def test_run_survives_a_missing_control_folder(run: Run) -> None:
    run.control.rmdir()
    Control(run).poll()
    control.send(run, "stop")
    engine = Control(run)
    engine.poll()
    assert engine.stop_requested


def test_commands_for_a_gone_engine_are_dropped(run: Run) -> None:
    control.send(run, "stop")
    control.clear(run)
    assert list(run.control.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_means_stop(run: Run, number: int) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    engine = Control(run)
    try:
        engine.install_signals()
        os.kill(os.getpid(), number)
        engine.poll()
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert engine.stop_requested
