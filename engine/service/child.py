"""The service as a child process, and the connection to it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from engine import secrets
from engine.clean_logs import scrub
from engine.errors import FREE, FtError, OutOfMemoryError, TrainingError
from engine.hardware import openmp
from engine.service.protocol import Message
from engine.service.transport import JsonLines, Unreadable
from engine.storage.disk_errors import explaining


class ServiceProcess:
    """Starts the service and carries messages over its stdin and stdout; closing ends it."""

    def __init__(self, log: Path) -> None:
        """`log` gets what libraries print in the child. Raises MachineError where it cannot be written."""
        self.tokens = secrets.carried((), secrets.useful_to_service())
        """Access tokens that the child has; they are removed from its log at the end."""
        with explaining(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as file:
                self.child = subprocess.Popen(
                    [sys.executable, "-P", "-m", "engine.service.server", "--secrets"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                    encoding="utf-8",
                    env=openmp.settled(secrets.without()),
                    start_new_session=True,  # ctrl-c cancels an answer; it must not end the child
                )
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self._log = log
        self._lines = JsonLines(self.child.stdout, self.child.stdin)
        self._lines.send(dict(self.tokens))

    @property
    def alive(self) -> bool:
        """True while the child can answer."""
        return self.child.poll() is None

    def send(self, message: Message) -> None:
        self._lines.send(message)

    def receive(self) -> Iterator[Message | Unreadable]:
        assert self.child.stdout is not None
        with self.child.stdout:
            yield from self._lines.receive()

    def close(self) -> None:
        self._lines.close()
        try:
            self.child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        with explaining():
            scrub(self._log, self.tokens.values())

    def why_closed(self) -> FtError:
        from engine.process.postmortem import log_end, log_says_memory

        code = self.child.wait()
        if code < 0 and log_says_memory(self._log):
            return OutOfMemoryError(
                "The service process has run out of memory.", f"{FREE} Its output is in {self._log}"
            )
        return TrainingError(
            f"The service process has ended with exit code {code}.", log_end(self._log).strip()
        )
