"""Abilities of the terminal, for the full-screen app."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping

from engine.doctor.finding import Finding, note, ok, warning

COLUMNS, LINES = 80, 24
"""The smallest terminal that every screen is made for."""


def findings(environment: Mapping[str, str] = os.environ, tty: bool | None = None) -> Iterator[Finding]:
    """The terminal that stdout is. `tty` says whether it is one; None looks."""
    stdout = sys.__stdout__  # the app puts something else in place of sys.stdout
    encoding = (stdout.encoding if stdout else None) or "ascii"
    if "utf" not in encoding.lower():
        yield warning(
            "encoding",
            f"The terminal's encoding is {encoding}: charts and names outside it are shown as escapes.",
            "export LC_ALL=C.UTF-8",
        )
    if not (stdout is not None and stdout.isatty() if tty is None else tty):
        yield note("terminal", "stdout is no terminal; the app needs one, every command works without.")
        return
    name = environment.get("TERM", "")
    if name in ("", "dumb"):
        yield warning(
            "terminal", f"TERM is {name or 'not set'}: the app cannot draw.", "export TERM=xterm-256color"
        )
        return
    columns, lines = shutil.get_terminal_size()
    if columns < COLUMNS or lines < LINES:
        yield warning(
            "terminal-size",
            f"The terminal has {columns}×{lines} cells; the app is made for {COLUMNS}×{LINES} and more.",
            "Make the window larger, or its letters smaller.",
        )
    colours = "no colours, as NO_COLOR asks" if environment.get("NO_COLOR") else _colours(environment, name)
    yield ok("terminal", f"{name}, {columns}×{lines}, {colours}")


def _colours(environment: Mapping[str, str], name: str) -> str:
    if environment.get("COLORTERM", "") in ("truecolor", "24bit"):
        return "16 million colours"
    return "256 colours" if "256" in name else "16 colours"
