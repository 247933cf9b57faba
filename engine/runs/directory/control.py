"""Commands to a running engine: one small file each in the run's `control/`, and signals."""

import json
import os
import shutil
import signal
import time
import uuid
from pathlib import Path
from types import FrameType
from typing import Literal, get_args

from engine.runs.directory.events import Acknowledged, Warned
from engine.runs.directory.heartbeat import Heartbeat
from engine.runs.directory.run import Run
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining
from engine.storage.regular_files import read_bytes

Command = Literal["stop", "save", "pause", "resume"]
PAUSE_S = 0.1
"""Seconds between two looks of a paused engine for commands."""


def send(run: Run, command: Command) -> str:
    """Leave a command for the run's engine; returns its id, which an `acknowledged` event will carry."""
    command_id = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
    with explaining():
        run.control.mkdir(exist_ok=True)
        write_atomic(run.control / f"{command_id}.json", json.dumps({"command": command}) + "\n")
    return command_id


def clear(run: Run) -> None:
    """Drop commands that were left for an engine that is gone."""
    with explaining():
        if run.control.is_dir():
            shutil.rmtree(run.control)
        run.control.mkdir()


class Control:
    """The engine's side of `control/`, and of SIGTERM and SIGINT, which mean stop."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stop_requested = False
        self._save_requested = False
        self._paused = False
        self._heartbeat = Heartbeat(run.heartbeat)
        self._stuck: set[str] = set()
        """Junk that could not be removed: warned about once."""

    def install_signals(self) -> None:
        """Let SIGTERM and SIGINT ask for a stop; to be called in the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def poll(self) -> None:
        """Take the commands that are there; returns only when the run is not paused."""
        self._take()
        while self._paused and not self.stop_requested:
            time.sleep(PAUSE_S)
            self._take()

    def take_save_request(self) -> bool:
        """Return True if a checkpoint was asked for since the last call."""
        asked, self._save_requested = self._save_requested, False
        return asked

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True

    def _take(self) -> None:
        self._heartbeat.beat()
        try:
            with os.scandir(self.run.control) as entries:
                names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        except FileNotFoundError:
            return
        for name in names:
            if name not in self._stuck:
                self._obey(self.run.control / name)

    def _obey(self, path: Path) -> None:
        command = _command_of(path)
        if command is None:
            self.run.emit(
                Warned(
                    message=f"{path.name} in control/ is not a command and was removed.",
                    hint=f"Commands are {', '.join(get_args(Command))}.",
                )
            )
        elif command == "stop":
            self.stop_requested = True
        elif command == "save":
            self._save_requested = True
        else:
            self._paused = command == "pause"
        if not _removed(path):
            self._stuck.add(path.name)
        if command is not None:
            self.run.emit(Acknowledged(id=path.stem, command=command))


def _command_of(path: Path) -> Command | None:
    """The command in a file, or None where it is junk."""
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        body = json.loads(read_bytes(path, 4096))
    except (OSError, ValueError, RecursionError):
        return None
    command = body.get("command") if isinstance(body, dict) else None
    return next((known for known in get_args(Command) if known == command), None)


def _removed(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
