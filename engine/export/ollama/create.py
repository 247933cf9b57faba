"""`ollama create`: a model for Ollama on this machine, out of an export's folder."""

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from engine.errors import ConfigError, MachineError
from engine.export.base import Heartbeat
from engine.export.ollama.modelfile import NAME
from engine.text import printable

INSTALL = (
    "Install it from https://ollama.com/download, or leave --create out: the folder has all that "
    "`ollama create` takes later."
)
MODEL_NAME = re.compile(r"(?:[\w.-]+/){0,2}[\w.-]+(?::[\w.-]+)?")
POLL_S = 0.2


class Creation:
    """`ollama create NAME`, for the folder that it is called with."""

    def __init__(self, name: str) -> None:
        """Raises ConfigError for a name that Ollama refuses, MachineError where it is not installed."""
        if not MODEL_NAME.fullmatch(name) or name.startswith("-"):
            raise ConfigError(
                f"--create: {name!r} is not a name of a model for Ollama.", "As my-model, or me/my-model:v2."
            )
        program = shutil.which("ollama")
        if program is None:
            raise MachineError("--create: `ollama` is not installed here.", INSTALL)
        self.name, self.program = name, program

    def __call__(self, folder: Path, heartbeat: Heartbeat) -> None:
        """Make the model in a folder known to Ollama.

        Raises MachineError with what Ollama says where it fails; what `heartbeat` raises ends it.
        """
        command = [self.program, "create", self.name, "-f", NAME]
        with tempfile.TemporaryFile("w+", errors="replace") as log:  # its progress would fill a pipe
            try:
                process = subprocess.Popen(
                    command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            except OSError as error:
                raise self._failure(folder, str(error.strerror or error)) from error
            try:
                while process.poll() is None:
                    heartbeat()
                    time.sleep(POLL_S)
            finally:
                process.kill()
                process.wait()
            log.seek(0)
            said = [line.strip() for line in log if line.strip()]
        if process.returncode:
            raise self._failure(folder, said[-1] if said else f"it ended with {process.returncode}")

    def _failure(self, folder: Path, why: str) -> MachineError:
        again = f"cd {shlex.quote(str(folder))} && ollama create {self.name} -f {NAME}"
        return MachineError(
            f"The export is whole in {folder}, and `ollama create {self.name}` failed: {printable(why)}",
            f"Is Ollama running (ollama serve)? Then: {again}",
        )
