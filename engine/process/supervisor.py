"""The parent of the engine process: starts it, and finds out why it ended where it left no exit message.

    python -P -m engine.process.supervisor RUN_DIR --lock FD [--resume CHECKPOINT] [--force] [--secrets]

It lives in a session of its own, so that closing a terminal ends neither. Where memory ran out it starts
the engine again with half the micro-batch, from the last checkpoint, at most twice. An engine that cannot even load
its model is not started again: that needs no less. An engine that hangs in a step is ended and started again, as
often, unless the recipe's `training.on_hang` says otherwise.
"""

import argparse
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType

import psutil

from engine import secrets
from engine.clean_logs import redact_output, scrub
from engine.errors import FtError, MachineError, OutOfMemoryError, TrainingError
from engine.hardware import allocator, openmp
from engine.jobs.registry import clean_up
from engine.process.hangs import USUAL, Guard, HangWatch, Patience, Silence
from engine.process.postmortem import Evidence, Postmortem, diagnose, oom_kills
from engine.runs.directory.checkpoints import latest
from engine.runs.directory.events import Failed, Warned
from engine.runs.directory.limits import Limits, halved
from engine.runs.directory.run import Run

RESTARTS = 2
FOR_A_STEP = "Lower model.max_seq_length or adapter.rank"
FOR_A_MODEL = "Free some memory, or take a smaller model.base or model.quantization: 4bit"


def main() -> int:
    """Supervise one run; returns the engine's exit code."""
    parser = argparse.ArgumentParser(prog="engine.process.supervisor")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lock", type=int, required=True)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--secrets", action="store_true", help="tokens come as one JSON line on stdin")
    arguments = parser.parse_args()
    tokens = secrets.receive(sys.stdin.buffer) if arguments.secrets else {}
    redact_output()
    run = Run.open(arguments.folder)
    return Supervisor(run, arguments.lock, arguments.force, tokens).supervise(arguments.resume)


class Supervisor:
    """Starts engines for one run, one after the other."""

    def __init__(
        self,
        run: Run,
        lock: int,
        force: bool,
        tokens: Mapping[str, str],
        patience: Patience = USUAL,
    ) -> None:
        self.run = run
        self.patience = patience
        """With an engine that shows no sign of life."""
        self.lock = lock
        self.force = force
        self.tokens = tokens
        """Kept for the next start; never in this process's environment, which its child would show."""
        self.stopping = False
        self.child: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)

    def supervise(self, resume: Path | None) -> int:
        """Run the engine to its end, however often it takes."""
        self._scrub_log(0)  # of what native code has printed where this run's last supervisor was killed
        for attempt in range(RESTARTS + 1):
            since, before = self.run.position(), Evidence(oom_kills(), _size(self.run.log))
            code, peak, hung = self._run_once(resume)
            self._scrub_log(before.log_before)
            clean_up(self.run)
            death = diagnose(self.run, code, since, replace(before, peak_bytes=peak, hung=hung))
            if death is None:
                return code
            again = attempt < RESTARTS and not self.stopping
            limits = self._smaller(death) if again else None
            if limits is not None:
                resume = self._restart(death, limits)
            elif again and hung and self._on_hang() == "restart":
                resume = self._restart(death)
            else:
                return self._give_up(death)
        raise AssertionError("unreachable")

    def _run_once(self, resume: Path | None) -> tuple[int, int | None, Silence | None]:
        """An engine's exit code, the most bytes that it held, and for how long it hung where it had to be ended."""
        command = [
            sys.executable,
            "-P",
            "-m",
            "engine.process.worker",
            str(self.run.folder),
            "--lock",
            str(self.lock),
            "--secrets",
        ]
        command += ["--resume", str(resume)] if resume else []
        command += ["--force"] if self.force else []
        # stdout and stderr are this process's: worker.log
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            pass_fds=(self.lock,),
            env=openmp.settled(secrets.without()) | allocator.preload(),
        )
        assert self.child.stdin is not None
        with self.child.stdin:
            secrets.send(self.tokens, self.child.stdin)
        if self.stopping:
            self.child.send_signal(signal.SIGTERM)
        watch = HangWatch(self.run, psutil.Process(self.child.pid), self.patience)
        guard = Guard(self.run, self.child, watch, lambda: self._on_hang() != "wait")
        with guard.watching():
            code, peak = _end_of(self.child)
        return code, peak, guard.hung

    def _on_hang(self) -> str:
        """The recipe's `training.on_hang`. Read when it is needed: it takes pydantic."""
        try:
            return self.run.config.training.on_hang
        except FtError:  # the recipe is gone or broken by now
            return "restart"

    def _scrub_log(self, since: int) -> None:
        try:
            scrub(self.run.log, self.tokens.values(), since)
        except OSError:
            traceback.print_exc()  # the run itself is whole

    def _smaller(self, death: Postmortem) -> Limits | None:
        plan = self.run.plan
        return halved(plan) if death.memory and death.loaded and plan else None

    def _restart(self, death: Postmortem, limits: Limits | None = None) -> Path | None:
        """Put the limits in force, where memory needs some, and say so; returns the checkpoint to resume from."""
        checkpoint = latest(self.run.folder)
        message = f"{death.message} It starts again {f'from {checkpoint.name}' if checkpoint else 'from the beginning'}"
        if limits is None:
            self.run.emit(
                Warned(message=f"{message}.", hint=f"The stacks of its threads are in {self.run.log}")
            )
            return checkpoint
        limits.save(self.run)
        most = f"{limits.micro_batch_rows} rows and {limits.micro_batch_tokens} tokens"
        self.run.emit(
            Warned(
                message=f"{message} with a micro-batch of at most {most}.",
                hint="The effective batch size stays the same.",
            )
        )
        return checkpoint

    def _give_up(self, death: Postmortem) -> int:
        plan = self.run.plan
        error: FtError
        if death.memory:
            usual = FOR_A_STEP if death.loaded else FOR_A_MODEL
            usual = usual if self.run.kind == "train" else "Free some memory"
            advice = "; ".join(plan.advice if plan and plan.advice else (usual,))
            error = OutOfMemoryError(
                death.message, f"{advice[:1].upper()}{advice[1:].rstrip('.')}. {death.hint}"
            )
        else:
            error = TrainingError(death.message, death.hint)
        try:
            self.run.emit(Failed(kind=error.kind, message=error.message, hint=error.hint))
        except MachineError:
            traceback.print_exc()  # a full disk takes no event; the exit code still says it
            return MachineError.exit_code
        return error.exit_code

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)


def _end_of(child: subprocess.Popen[bytes]) -> tuple[int, int | None]:
    """Wait for a child's end; its exit code, and the most bytes that it held, None where that is not told."""
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except ChildProcessError:  # passing a signal on looks after the child too, and has seen its end
        return child.wait(), None
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
