"""A server of another engine, as a child of ours: started, waited for, watched, and ended."""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress

from engine import secrets
from engine.errors import MachineError
from engine.serving.engines import Command

POLL_S = 0.2


def run(
    command: Command,
    name: str,
    url: str,
    ready: Callable[[], None],
    stopping: Callable[[], bool],
    grace_s: float,
) -> None:
    """Serve until `stopping` returns True; `ready` is called once the server answers.

    Raises MachineError where it ends by itself.
    """
    environment = secrets.without() | dict(command.environment)
    process = subprocess.Popen(command.words, stdin=subprocess.PIPE, env=environment, text=True)
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(command.given)
        told = False
        while not stopping():
            if (code := process.poll()) is not None:
                raise MachineError(
                    f"The server of {name} ended with exit code {code}.",
                    "What it printed is in the run's worker.log.",
                )
            if not told and _answers(url):
                told = True
                ready()
            time.sleep(POLL_S)
    finally:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    """Return True if a server is there and has loaded its model; all three have /health."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
