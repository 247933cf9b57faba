"""Tokens on their way into a child process: one JSON line on stdin, never its first environment or arguments.

What is in a process's first environment can be read with `ps eww`, and in /proc.
"""

import contextlib
import json
import os
from collections.abc import Collection, Mapping
from typing import IO

from engine.redaction import HANDED
from engine.secrets import passphrase, services
from engine.secrets.names import ALIASES, HF_TOKEN, OF_ADDRESS, named
from engine.secrets.store import get, get_unasked, listed

OF_SERVICE = (HF_TOKEN,)
"""Tokens that the service process may need for whatever it is asked, beside the addresses of data."""


def carried(needed: Collection[str], useful: Collection[str] = ()) -> dict[str, str]:
    """The tokens that a child process is given, as far as they are set; no others.

    Where the keyring is locked or missing, or nobody gives the file's passphrase, MachineError is raised for one that
    is `needed`; one that is only `useful` is left out, and nobody is asked for it.
    """
    found = {name: get(name) for name in dict.fromkeys(needed)}
    found |= {name: get_unasked(name) for name in dict.fromkeys(useful) if name not in found}
    return {name: value for name, value in found.items() if value is not None}


def useful_to_service() -> tuple[str, ...]:
    """Names of what the service process is given where it is at hand: the hub's token, and addresses of data."""
    return (*OF_SERVICE, *(state.name for state in listed() if OF_ADDRESS.fullmatch(state.name)))


def without(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment (this process's) as it may be given to a child: without the tokens that ft knows of."""
    given = os.environ if environment is None else environment
    names = {state.name for state in listed()} | services.PURPOSES.keys() | {passphrase.VARIABLE}
    names |= {alias for name in names for alias in ALIASES.get(name, ())}
    names |= {*given.get(HANDED, "").split(",")}
    return {
        name: value for name, value in given.items() if name not in names and not OF_ADDRESS.fullmatch(name)
    }


def send(values: Mapping[str, str], stream: IO[bytes]) -> None:
    """Write tokens as one JSON line. A child that has ended already is its parent's to notice."""
    with contextlib.suppress(BrokenPipeError):
        stream.write(json.dumps(values).encode() + b"\n")
        stream.flush()


def receive(stream: IO[bytes]) -> dict[str, str]:
    """Read what `send` wrote; nothing where the parent has ended before."""
    line = stream.readline()
    values = json.loads(line) if line.endswith(b"\n") else {}
    return {str(name): str(value) for name, value in values.items()}


def adopt(values: Mapping[str, str]) -> None:
    """Put tokens into this process's environment, where the libraries look for them.

    What is put there after the start shows neither in `ps eww` nor in /proc.
    """
    os.environ.update(values)
    before = os.environ.get(HANDED)
    # so that `engine.redaction` knows them, whatever they are called
    os.environ[HANDED] = ",".join((*([before] if before else []), *values))


def renew(name: str, value: str | None) -> None:
    """Put another value of a token into this process's environment, or, with None, take it out.

    Raises ConfigError for an impossible name.
    """
    if value is None:
        os.environ.pop(named(name), None)
    else:
        adopt({named(name): str(value)})
