"""The `ft` command as a person runs it: in a process, or on a real terminal."""

import fcntl
import json
import os
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FT = [sys.executable, "-P", "-c", "import sys; from ft.cli import main; sys.exit(main())"]
PATIENCE_S = 120.0


def ft(
    *arguments: str | Path, given: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `ft` to its end."""
    return subprocess.run(
        [*FT, *map(str, arguments)],
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=_environment(environment),
    )


def until(happened: Callable[[], Any], what: str, instead: Callable[[], str] = str) -> Any:
    """Wait for something to become true; returns it. `instead` tells, at the end, what was there."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.02)
    raise AssertionError(f"never: {what} {instead()}")


class Terminal:
    """`ft` on a pseudo-terminal of its own, as its foreground job."""

    def __init__(self, *arguments: str | Path) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x28\x00\x78\x00\x00\x00\x00\x00")
        self.process = subprocess.Popen(
            [*FT, *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=_environment({"TERM": "xterm-256color"}),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.output = b""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def press(self, keys: bytes) -> None:
        """Type; b"\\x03" is ctrl-c."""
        os.write(self.master, keys)

    def wait_for(self, text: str) -> None:
        """Wait until the terminal has shown a text."""
        until(
            lambda: text in self.shown,
            f"{text!r} on the terminal",
            lambda: f"; it shows: {self.shown[-2000:]}",
        )

    @property
    def shown(self) -> str:
        return self.output.decode("utf-8", "replace")

    def end(self) -> int:
        """Wait for the program's end; returns its exit code."""
        code = self.process.wait(timeout=PATIENCE_S)
        self.reader.join(timeout=10)
        os.close(self.master)
        return code

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            self.output += data


def write_recipe(
    folder: Path, model: Path | str, /, steps: int = 12, name: str = "tiny", **sections: Mapping[str, Any]
) -> Path:
    """A recipe for a tiny model and rows of its own, small enough to train in seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": f"number {i}", "completion": f"it is {i} and no more"} for i in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    body: dict[str, Any] = {
        "name": name,
        "model": {"base": str(model), "max_seq_length": 64},
        "data": {"train": "rows.jsonl"},
        "adapter": {"rank": 4},
        "training": {"max_steps": steps, "effective_batch_size": 4, "batch_size": 4},
        "evaluation": {"every": 1000, "samples": ["number 3"], "sample_tokens": 4},
        "checkpoints": {"every": 5},
    }
    for key, section in sections.items():
        body[key] = {**body.get(key, {}), **section}
    path = folder / "train.yml"
    path.write_text(json.dumps(body))  # JSON is YAML
    return path


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **extra}
