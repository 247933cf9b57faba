"""Output on the terminal: data on stdout, narration and errors on stderr.

Names, messages and rows come from strangers. Whatever of them a terminal would obey is written as signs; where stdout
is a pipe, it gets data as it is.
"""

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from engine.errors import ConfigError, FtError
from engine.text import printable, shortened

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200
"""Columns where stdout is not a terminal: rich would cut at 80, in the middle of a path."""


class Printable:
    """A stream that writes control characters as signs. `stream` is the real one, for styles of our own."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text with every control character made visible."""
        return self.stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def safe_output() -> Iterator[None]:
    """Within the block, what is printed neither moves a cursor nor fails for a character that has no code.

    A stream that was closed before the program began (`>&-`) is as one that nobody reads.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    out = before[0] if before[0] is not None else _nowhere(1)
    err = before[1] if before[1] is not None else _nowhere(2)
    sys.stdin = sys.stdin if sys.stdin is not None else _nowhere(0)
    sys.stdout = Printable(out) if out.isatty() else out
    sys.stderr = Printable(err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def out() -> "Console":
    """A rich console on stdout, for what was asked for. Rich is imported here, for those who need it."""
    return _console(sys.stdout)


def err() -> "Console":
    """A rich console on stderr, for narration."""
    return _console(sys.stderr)


def say(text: str) -> None:
    """A line of narration on stderr, without rich."""
    print(shortened(text), file=sys.stderr, flush=True)


def print_json(body: Any, indent: int | None = 2) -> None:
    """Data as JSON on stdout; what the terminal's encoding lacks is escaped as JSON does it."""
    utf8 = "utf" in (sys.stdout.encoding or "").lower()
    print(json.dumps(body, indent=indent, ensure_ascii=not utf8, default=str))


def show_error(error: FtError) -> None:
    """Message and hint on stderr, without rich: an error should not cost its import."""
    _say_after("error:", "1;31", error.message)
    if error.hint:
        _say_after("hint:", "1;36", error.hint)


def _say_after(head: str, code: str, text: str) -> None:
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    _real(sys.stderr).write(f"\033[{code}m{head}\033[0m" if colour else head)
    print("", text, file=sys.stderr, flush=True)


def _console(stream: IO[str]) -> "Console":
    from ft.rich_console import SafeConsole

    return SafeConsole(
        file=_real(stream),
        markup=False,
        highlight=False,
        emoji=False,
        width=None if stream.isatty() else PIPE_WIDTH,
    )


def _real(stream: IO[str]) -> IO[str]:
    return stream.stream if isinstance(stream, Printable) else stream


def _nowhere(number: int) -> IO[str]:
    """A stream that leads nowhere, under the number of a standard one, so that no other file gets that number."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
    return open(os.devnull, "w" if number else "r", encoding="utf-8")  # noqa: PTH123 - for the whole run


def key_values(texts: Iterable[str]) -> dict[str, str]:
    """Options written as KEY=VALUE, by key. Raises ConfigError for one that is written otherwise."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ConfigError(f"--set {text}: expected KEY=VALUE.", "As in --set quantization=4bit.")
        found[key] = value
    return found
