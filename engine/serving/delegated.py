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
ASK_EVERY_S = 2.0
"""Time between two looks whether a server that has answered still does."""
END_S = 10.0
"""Seconds that it gets to end."""


def run(
    command: Command, name: str, url: str, ready: Callable[[], None], stopping: Callable[[], bool]
) -> None:
    """Serve until `stopping` returns True; `ready` is called once the server answers.

    Raises MachineError where it ends by itself, or says that it answers no more.
    """
    environment = secrets.without() | dict(command.environment)
    process = subprocess.Popen(command.words, stdin=subprocess.PIPE, env=environment, text=True)
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it stays open: a child of ours ends when we do
            process.stdin.write(f"{command.given}\n")
            process.stdin.flush()
        told, asked_at = False, 0.0
        while not stopping():
            if (code := process.poll()) is not None:
                raise _ended(name, f"ended with exit code {code}")
            if time.monotonic() - asked_at >= (ASK_EVERY_S if told else POLL_S):
                asked_at, status = time.monotonic(), _health(url)
                if told and status == 503:
                    raise _ended(name, "answers no more")
                if not told and status == 200:
                    told = True
                    ready()
            time.sleep(POLL_S)
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ended(name: str, how: str) -> MachineError:
    return MachineError(f"The server of {name} {how}.", "What it printed is in the run's worker.log.")


def _health(url: str) -> int | None:
    """Status of /health, which all three have: 200 once the model is loaded; None where nobody answers in time."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, OSError):
        return None
