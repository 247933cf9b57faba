"""The system's own clipboard, for terminals that do not take OSC 52."""

import os
import shutil
import subprocess

TOOLS = (
    ("pbcopy",),
    ("wl-copy",),
    ("xclip", "-selection", "clipboard"),
    ("xsel", "--clipboard", "--input"),
)
PATIENCE_S = 2.0


def copy_locally(text: str) -> bool:
    """Hand a text to the first clipboard tool that takes it; whether one did. Blocks for a moment.

    Over SSH it would be the other machine's clipboard, so nothing is done: OSC 52 reaches the right one.
    """
    if os.environ.get("SSH_CONNECTION"):
        return False
    for tool in TOOLS:
        if shutil.which(tool[0]) is None:
            continue
        try:
            done = subprocess.run(
                tool,
                input=text.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return True
    return False
