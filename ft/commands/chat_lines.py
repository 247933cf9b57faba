"""Input of `ft chat`: what a person types, of one line or several."""

import sys
from typing import TextIO

from engine.errors import ConfigError
from ft.console import say

QUOTES = '"""'
LEAVE = ("/exit", "/quit")


def next_text(stdin: TextIO) -> str | None:
    """The next text that is not empty; None to leave.

    A line that ends with a backslash goes on in the next one; so does what begins with three double quotes, up to the
    line that ends with them.
    """
    typed = stdin.isatty()
    while True:
        try:
            text = _text(typed)
        except (EOFError, KeyboardInterrupt):
            say("")
            return None
        if text in LEAVE:
            return None
        if text:
            return text


def _text(typed: bool) -> str:
    line = _line("> ", typed)
    command, space, rest = line.partition(" ")
    before, body = (command + space, rest) if command.startswith("/") else ("", line)
    if body.startswith(QUOTES):
        return before + _quoted(body.removeprefix(QUOTES), typed)
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(_line("… ", typed))
    return "\n".join(lines).strip()


def _quoted(first: str, typed: bool) -> str:
    lines = [first]
    while not lines[-1].rstrip().endswith(QUOTES):
        lines.append(_line("… ", typed))
    lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
    return "\n".join(lines).strip("\n")


def _line(sign: str, typed: bool) -> str:
    """A line that is typed, with the keys of readline, or read. Raises EOFError, KeyboardInterrupt."""
    if typed:
        import readline  # noqa: F401 - gives input() its line editing and history

        return input(sign)
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError as error:
        raise ConfigError("The question is not UTF-8 text.", "Convert it to UTF-8.") from error
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
