"""llama.cpp's own quantiser, where LLAMA_CPP_DIR names a folder that has it."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import MachineError
from engine.hardware.probe import usable_cores

VARIABLE = "LLAMA_CPP_DIR"
PROGRAM = "llama-quantize"
PLACES = ("", "bin", "build/bin")
"""Folders of a checkout or an installation in which the program lies."""
POLL_S = 0.2


def quantiser_program() -> Path | None:
    """The program; None where LLAMA_CPP_DIR is not set. Raises MachineError where it is set and the program is not
    there."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    for place in PLACES:
        found = Path(folder) / place / PROGRAM
        if found.is_file() and os.access(found, os.X_OK):
            return found
    raise MachineError(
        f"{VARIABLE} is {folder}, and there is no {PROGRAM} there, in bin or in build/bin.",
        f"Build it (cmake --build build --target {PROGRAM}), or unset {VARIABLE}: ft then quantises itself.",
    )


def quantise_file(
    program: Path, source: Path, out: Path, quantization: str, heartbeat: Callable[[], None]
) -> None:
    """Quantise a whole GGUF file into another; `heartbeat` ends the program by raising.

    Raises MachineError where it fails, with the last line that it printed.
    """
    log = out.with_suffix(".log")
    command: list[str | Path] = [program, source, out, quantization.upper(), str(usable_cores())]
    with log.open("wb") as file:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            while child.poll() is None:
                heartbeat()
                time.sleep(POLL_S)
        finally:
            child.kill()
            child.wait()
    said = log.read_text(errors="replace").strip().splitlines()
    log.unlink()
    if child.returncode or not out.is_file():
        raise MachineError(
            f"{program} failed: {said[-1] if said else f'exit code {child.returncode}'}",
            f"Unset {VARIABLE} to let ft quantise itself.",
        )
