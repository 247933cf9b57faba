"""`ollama create`: a model for Ollama on this machine, out of an export's folder."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import ConfigError, MachineError
from engine.export.ollama.modelfile import NAME
from engine.text import printable

INSTALL = "Install it from https://ollama.com/download, or leave `create` out: the folder has all that it needs later."
MODEL_NAME = re.compile(r"(?:[\w.-]+/){0,2}[\w.-]+(?::[\w.-]+)?")
POLL_S = 0.2


def require(name: str) -> str:
    """Path of the program. Raises MachineError where it is not installed, ConfigError for a name that it refuses."""
    if not MODEL_NAME.fullmatch(name) or name.startswith("-"):
        raise ConfigError(
            f"create: {name!r} is not a name of a model for Ollama.", "As my-model, or me/my-model:v2."
        )
    program = shutil.which("ollama")
    if program is None:
        raise MachineError("create: `ollama` is not installed here.", INSTALL)
    return program


def create(folder: Path, name: str, heartbeat: Callable[[], None] = lambda: None) -> None:
    """Make the model of an export's folder known to Ollama under a name.

    Raises as `require` does, and MachineError with what it says where it fails; what `heartbeat` raises ends it.
    """
    command = [require(name), "create", name, "-f", NAME]
    with tempfile.TemporaryFile("w+", errors="replace") as log:  # its progress would fill a pipe
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while process.poll() is None:
                heartbeat()
                time.sleep(POLL_S)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        lines = [line.strip() for line in log if line.strip()]
    if process.returncode:
        why = printable(lines[-1]) if lines else f"it ended with {process.returncode}"
        raise MachineError(
            f"`ollama create {name}` failed: {why}",
            f"Is Ollama running (ollama serve)? Then, in the folder: ollama create {name} -f {NAME}",
        )
