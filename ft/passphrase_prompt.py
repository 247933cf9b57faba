"""The question for the passphrase of the encrypted file, on a terminal."""

import sys
from contextlib import suppress


def ask(question: str) -> str | None:
    """What a person types after the question, which is not shown; None without a terminal, or for nothing typed."""
    if not sys.stdin.isatty():
        return None
    return typed(question)


def typed(question: str) -> str | None:
    """The same on a terminal that is known to be there."""
    from getpass import getpass

    with suppress(EOFError):  # ctrl-d
        return getpass(f"{question} (not shown): ") or None
    return None
