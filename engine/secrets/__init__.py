"""Tokens: in the environment, the system's keyring or an encrypted file; never in a log, an event or a process list.

An engine process gets those that its job needs as one JSON line on stdin, and no others.
"""

from engine.secrets.encrypted_file import WrongPassphrase
from engine.secrets.handing import adopt, carried, receive, renew, send, useful_to_service, without
from engine.secrets.names import ALIASES, HF_TOKEN, LONGEST, NAME, OF_ADDRESS
from engine.secrets.passphrase import ask_with
from engine.secrets.services import PURPOSES, SERVE_API_KEY
from engine.secrets.store import (
    Locked,
    SecretState,
    forget,
    get,
    kept,
    listed,
    set,  # noqa: A004 - `secrets.set` is what it is
    set_in_file,
    state_of,
    unlock,
)
from engine.secrets.system_keyring import NoKeyring, keyring_name
from engine.secrets.testing import Verdict, test, test_all, verdict

__all__ = [
    "ALIASES",
    "HF_TOKEN",
    "LONGEST",
    "NAME",
    "OF_ADDRESS",
    "PURPOSES",
    "SERVE_API_KEY",
    "Locked",
    "NoKeyring",
    "SecretState",
    "Verdict",
    "WrongPassphrase",
    "adopt",
    "ask_with",
    "carried",
    "forget",
    "get",
    "kept",
    "keyring_name",
    "listed",
    "receive",
    "renew",
    "send",
    "set",
    "set_in_file",
    "state_of",
    "test",
    "test_all",
    "unlock",
    "useful_to_service",
    "verdict",
    "without",
]
