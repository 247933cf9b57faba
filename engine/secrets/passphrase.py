"""The passphrase of the encrypted file: given before, in the environment, or asked for once.

The engine's side never prompts: a program that may ask a person (the command line) says how, by `ask_with`. Without
that, as in the app, in the engine process and in Python programs, nothing here waits for anybody.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.errors import ConfigError

VARIABLE = "FT_SECRETS_PASSPHRASE"
"""The environment variable for scripts. No child process gets it."""
SHORTEST = 8
"""Characters of the shortest passphrase that a new file takes."""
Ask = Callable[[str], str | None]
"""Asks a person, with the question as given; None where there is nobody, or nothing was typed."""


@dataclass
class _Process:
    """What this process knows. It is the process's own, as its environment is, so there is one."""

    known: str | None = None
    ask: Ask | None = None
    answer: str | None = None
    """What a person has typed, right or wrong."""
    asking: threading.Lock = field(default_factory=threading.Lock)


_PROCESS = _Process()


def ask_with(ask: Ask | None) -> None:
    """Let `ask` put the question in this process from now on; None asks nobody."""
    _PROCESS.ask, _PROCESS.answer = ask, None


def remember(passphrase: str | None) -> None:
    """Use a passphrase, which has opened the file, for the rest of this process; None forgets it."""
    _PROCESS.known, _PROCESS.answer = passphrase, None


def known() -> str | None:
    """The passphrase that this process was given before, else that of the environment. Asks nobody."""
    return _PROCESS.known or os.environ.get(VARIABLE) or None


def asked(question: str) -> str | None:
    """The passphrase that is known, else what a person answers; None where nobody can be asked.

    A person is asked once: who has typed a wrong one, or nothing, is not asked again for the next token.
    """
    with _PROCESS.asking:  # threads that need a token at once wait for one answer
        if (found := known()) is None and _PROCESS.ask is not None:
            ask, _PROCESS.ask = _PROCESS.ask, None
            found = _PROCESS.answer = ask(question) or None
        return found or _PROCESS.answer


def refuse_weak(passphrase: str) -> None:
    """Raise ConfigError for a passphrase that is too short for a new file."""
    if len(passphrase) < SHORTEST:
        raise ConfigError(
            f"A passphrase has at least {SHORTEST} characters.", "Several words are easy to remember."
        )
