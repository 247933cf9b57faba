"""The text editor that a person has set for the whole system."""

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from engine.errors import ConfigError, FtError, MachineError
from engine.storage.disk_errors import explaining
from screens.recipe.files import NAME, read, write

KNOWN = ("nano", "vim", "vi")
"""Tried in this order where neither VISUAL nor EDITOR is set."""


def edited(text: str) -> str | FtError:
    """The recipe's text after a person has edited it there; what went wrong, where that did. Blocks.

    The editor gets a copy: whether and where the text is saved stays with the app. An error is returned, not
    raised, since the app has to take its terminal back in either case.
    """
    try:
        command = _command()
        with explaining(), tempfile.TemporaryDirectory(prefix="ft-") as folder:
            file = Path(folder) / NAME
            write(file, text)
            code = subprocess.run([*command, str(file)], check=False).returncode
            if code:
                return MachineError(f"{command[0]} ended with code {code}; the text is unchanged.")
            return read(file)
    except FtError as error:
        return error


def _command() -> list[str]:
    """The editor and its own arguments. Raises ConfigError where there is none."""
    wanted = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        command = shlex.split(wanted)
    except ValueError as error:
        raise ConfigError(f"VISUAL or EDITOR cannot be read: {wanted}: {error}") from error
    command = command or [name for name in KNOWN if shutil.which(name)][:1]
    if not command or shutil.which(command[0]) is None:
        what = (
            f"{command[0]}, which VISUAL or EDITOR names, was not found." if command else "No editor found."
        )
        raise ConfigError(what, "Set EDITOR to one, as in: export EDITOR=nano")
    return command
