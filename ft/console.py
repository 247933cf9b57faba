"""What a person sees on the terminal: data on stdout, narration and errors on stderr."""

import os
import sys
from typing import TYPE_CHECKING

from engine.errors import FtError

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200
"""Columns where stdout is no terminal: rich would cut at 80, in the middle of a path."""


def out() -> "Console":
    """A rich console on stdout, for what was asked for. Rich is imported here, for those who need it."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def err() -> "Console":
    """A rich console on stderr, for what is told beside it."""
    from rich.console import Console

    return Console(
        stderr=True, highlight=False, emoji=False, width=None if sys.stderr.isatty() else PIPE_WIDTH
    )


def say(text: str) -> None:
    """A line of narration on stderr, without rich."""
    print(text, file=sys.stderr, flush=True)


def show_error(error: FtError) -> None:
    """Message and hint on stderr, without rich: an error should not cost its import."""
    say(f"{_styled('error:', '1;31')} {error.message}")
    if error.hint:
        say(f"{_styled('hint:', '1;36')} {error.hint}")


def _styled(text: str, code: str) -> str:
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[{code}m{text}\033[0m" if colour else text
