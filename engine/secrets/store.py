"""Where each token is, and the order in which places are asked: environment, keyring, encrypted file."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.errors import ConfigError, MachineError
from engine.secrets import encrypted_file, passphrase, services, system_keyring
from engine.secrets.names import ALIASES, named, refuse_unusable

Place = Literal["environment", "keyring", "file", "none"]
_WORDS: Mapping[Place, str] = {
    "environment": "environment",
    "keyring": "keyring",
    "file": "encrypted file",
    "none": "not set",
}


@dataclass(frozen=True)
class SecretState:
    """Location of a token, never its value. `variable` is the environment variable that has it, if one does."""

    name: str
    place: Place
    purpose: str
    testable: bool
    variable: str | None = None

    @property
    def where(self) -> str:
        """The place, for people."""
        if self.variable not in (None, self.name):
            return f"environment ({self.variable})"
        return _WORDS[self.place]


class Locked(MachineError):  # noqa: N818 - a state of the file
    """A token is in the encrypted file, and nobody has given the passphrase."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is in {encrypted_file.path()}, and its passphrase is not known here.",
            f"Run it on a terminal, which asks, or set {passphrase.VARIABLE}; or set the environment variable "
            f"{name}. In the app, Settings asks for it: test the token there.",
        )


def get(name: str, ask: bool = True) -> str | None:
    """The token: the environment's, else the keyring's, else the encrypted file's; None where none has it.

    Only for what is in the file, and with `ask`, a person may be asked for its passphrase (`passphrase.ask_with`).
    Raises ConfigError for an impossible name, MachineError where a place has it but is locked, missing or damaged.
    """
    name = named(name)
    variable = variable_of(name)
    if variable is not None:
        return os.environ[variable]
    if system_keyring.has(name):
        try:
            value = system_keyring.get(name)
        except MachineError:
            if name not in _names_in_file():
                raise
        else:
            if value is not None:
                return value
    return _from_file(name, ask) if encrypted_file.exists() and name in encrypted_file.names() else None


def get_unasked(name: str) -> str | None:
    """The token as `get` finds it, but nobody is asked: None too where its place is locked, missing or damaged."""
    try:
        return get(name, ask=False)
    except MachineError:
        return None


def set(name: str, value: str) -> None:  # noqa: A001 - `secrets.set` is what it is
    """Keep a token in the keyring.

    Raises ConfigError for what cannot be one, NoKeyring where there is none, MachineError where it is locked.
    """
    name = named(name)
    refuse_unusable(name, value)
    system_keyring.put(name, value)


def set_in_file(values: Mapping[str, str], words: str) -> None:
    """Keep tokens in the encrypted file, which the passphrase `words` opens; it is remembered for this process.

    Raises ConfigError for what cannot be one, and what `encrypted_file.put` raises.
    """
    own = {named(name): value for name, value in values.items()}
    for name, value in own.items():
        refuse_unusable(name, value)
    encrypted_file.put(own, words)
    passphrase.remember(words)


def unlock(words: str) -> None:
    """Check a passphrase against the file and remember it for this process.

    Raises WrongPassphrase, and MachineError where the file is damaged.
    """
    for name in encrypted_file.names()[:1]:
        encrypted_file.get(name, words)
    passphrase.remember(words)


def forget(name: str) -> None:
    """Take a token out of the keyring and the file. Raises ConfigError where neither has it, MachineError as `get`."""
    name = named(name)
    in_keyring = system_keyring.has(name)
    if in_keyring:
        system_keyring.remove(name)
    if encrypted_file.exists() and name in encrypted_file.names():
        encrypted_file.remove(name)
    elif not in_keyring:
        variable = variable_of(name)
        where = f" It comes from the environment variable {variable}." if variable else ""
        raise ConfigError(f"ft keeps no {name}.{where}", "See what there is: ft secrets list")


def listed() -> list[SecretState]:
    """The names that ft knows or was given, and where each is. Neither keyring nor passphrase is asked for.

    Names of services that few people use are among them where they are set.
    """
    kept = (*system_keyring.names(), *_names_in_file())
    known = (name for name in services.PURPOSES if name in services.ALWAYS or variable_of(name))
    return [state_of(name) for name in dict.fromkeys((*known, *kept))]


def state_of(name: str) -> SecretState:
    """Location of one token. Raises ConfigError for an impossible name."""
    name = named(name)
    purpose = services.PURPOSES.get(name, "given where a job names it")
    return SecretState(name, place_of(name), purpose, services.has_test(name), variable_of(name))


def place_of(name: str) -> Place:
    """The place that `get` would take the token from. A keyring that cannot be used is not found out here."""
    if variable_of(name) is not None:
        return "environment"
    if system_keyring.has(name):
        return "keyring"
    return "file" if name in _names_in_file() else "none"


def kept(name: str) -> bool:
    """True if the keyring or the file has a token of this name, whatever the environment has."""
    return system_keyring.has(name) or name in _names_in_file()


def variable_of(name: str) -> str | None:
    """The environment variable that has a token now."""
    return next((one for one in (name, *ALIASES.get(name, ())) if os.environ.get(one)), None)


def _names_in_file() -> list[str]:
    """Names in the file; none where it is damaged, which is told to who asks for a value."""
    with contextlib.suppress(MachineError):
        return encrypted_file.names() if encrypted_file.exists() else []
    return []


def _from_file(name: str, ask: bool) -> str | None:
    question = f"Passphrase of {encrypted_file.path()}, for {name}"
    words = passphrase.asked(question) if ask else passphrase.known()
    if words is None:
        raise Locked(name)
    value = encrypted_file.get(name, words)
    passphrase.remember(words)
    return value
