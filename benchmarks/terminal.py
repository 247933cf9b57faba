"""A program on a pseudo-terminal, for the benchmarks that measure the app as a person has it."""

import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path


def spawn(
    command: Sequence[str | Path], home: Path, size: tuple[int, int]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a command on a terminal of (columns, rows), in `home`, with it as FT_HOME.

    Returns the process, and the side of the terminal that sees what is drawn and types.
    """
    master, slave = os.openpty()
    columns, rows = size
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = os.environ | {"FT_HOME": str(home), "TERM": "xterm-256color", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True, cwd=home
    )
    os.close(slave)
    return process, master
