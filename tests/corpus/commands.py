"""Many commands of `ft` run one after the other in one child process, each watched: its exit code, time and words.

    python -m tests.corpus.commands < COMMANDS > OUTCOMES

One line of JSON in, `{"argv": […], "folder": …}`, gives one out. A command runs through `ft.cli.main`, as in a shell
with a terminal for stdout and a file for stderr, and is interrupted after `LIMIT_S`.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 60
"""Generous: the machine may be busy. What never ends is what this is for."""
DOCUMENTED = (0, 1, 2, 3, 4, 5, 6, 7, 130)
"""The exit codes of docs/commands.md, without that of our own mistakes."""
LONGEST = 2048
OURS = re.compile(r"\x1b\[[0-9;]*m")
"""Colours, which are ours; every other control character on the terminal is a stranger's."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Outcome:
    """Result of a command."""

    argv: tuple[str, ...]
    code: int
    seconds: float
    out: str
    err: str
    timed_out: bool

    def wrong(self) -> list[str]:
        """Faults that no input may cause, whatever is in it; empty if all is well."""
        said = OURS.sub("", self.err)
        message = said[said.find("error:") :] if "error:" in said else ""
        lines = [message, *said.removesuffix(message).splitlines()]
        found = []
        if self.timed_out:
            found.append(f"did not end in {LIMIT_S} s")
        elif self.code not in DOCUMENTED:
            found.append(f"exit code {self.code}")
        if "Traceback" in self.err:
            found.append("a traceback")
        if self._has_failed() and said.count("error:") != 1:
            found.append(f"{said.count('error:')} messages")
        # A recipe's errors say what is right.
        if self._has_failed() and self.code != 2 and "hint:" not in message:
            found.append("no hint")
        if (longest := max(len(line.encode()) for line in lines)) > LONGEST:
            found.append(f"a message of {longest:,} bytes")
        if control := CONTROL.search(said) or CONTROL.search(OURS.sub("", self.out)):
            found.append(f"{control[0]!r} on the terminal")
        return found

    def _has_failed(self) -> bool:
        """True if an error is due on stderr: with --json some print it as data, and typer has its own format."""
        as_data = "--json" in self.argv and bool(self.out.strip())
        return (
            self.code not in (0, 1, 130) and not self.timed_out and not as_data and "Usage:" not in self.err
        )

    def __str__(self) -> str:
        return f"ft {' '.join(self.argv)[:300]!r} → {self.code} in {self.seconds:.1f} s: {self.err[-600:]!r}"


class _Screen(io.StringIO):
    """A stdout that passes for a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class _Narration(io.StringIO):
    """A stderr that is none, so that there are no bars and no live views, only words."""

    encoding = "utf-8"  # type: ignore[assignment]


def run_all(
    commands: Iterable[tuple[Sequence[str | Path], Path | None]], **environment: str
) -> list[Outcome]:
    """Run commands, each as seen from a folder, in one child. A child that dies or hangs for good is an error."""
    asked = [{"argv": list(map(str, argv)), "folder": str(folder or Path.cwd())} for argv, folder in commands]
    done = subprocess.run(
        [sys.executable, "-m", "tests.corpus.commands"],
        input="".join(json.dumps(one) + "\n" for one in asked),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60 + LIMIT_S * len(asked),
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(asked), f"the child ended at {asked[len(answers)]} with {done.returncode}"
    return [Outcome(**{**answer, "argv": tuple(answer["argv"])}) for answer in answers]


def assert_all_well(outcomes: Iterable[Outcome]) -> None:
    """Fail with every outcome that is wrong in some way, a line each."""
    told = [f"{', '.join(wrong)}: {outcome}" for outcome in outcomes if (wrong := outcome.wrong())]
    assert not told, "\n".join(["", *told])


class _TooLongError(BaseException):
    """Not an Exception: nothing may take it for a failure of its own."""


def _interrupt(number: int, frame: Any) -> None:
    raise _TooLongError


def _run(argv: list[str], folder: str) -> dict[str, Any]:
    from ft.cli import main

    os.chdir(folder)
    screens = sys.stdout, sys.stderr = _Screen(), _Narration()
    began = time.monotonic()
    timed_out, code = False, -1
    signal.alarm(LIMIT_S)
    try:
        code = main(argv)
    except _TooLongError:
        timed_out = True
    finally:
        signal.alarm(0)
    seconds = time.monotonic() - began
    out, err = (screen.getvalue() for screen in screens)
    return {"argv": argv, "code": code, "seconds": seconds, "out": out, "err": err, "timed_out": timed_out}


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what native code prints does not come between the answers
    signal.signal(signal.SIGALRM, _interrupt)
    sys.stdin, commands = io.StringIO(), sys.stdin
    for line in commands:
        asked = json.loads(line)
        answers.write(json.dumps(_run(**asked)) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
