"""Tokens in the system's keyring.

The names in it are recorded by empty files under FT_HOME (`keyring/HF_TOKEN`), so that a keyring is only loaded, and
perhaps unlocked, by who needs a token.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine import paths
from engine.errors import MachineError
from engine.secrets.names import possible

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "ft"
"""Service name of our tokens in the keyring."""


class NoKeyring(MachineError):  # noqa: N818 - a state of the system
    """This system has no keyring that could hold a token."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"This system has no keyring that could hold {name}.",
            f"Keep it in an encrypted file: ft secrets set {name} --file. Or set the environment variable {name}. "
            "On Linux, GNOME Keyring, KWallet and KeePassXC are keyrings.",
        )


def has(name: str) -> bool:
    """True if a token of this name was put into the keyring. The keyring itself is not asked."""
    return _mark(name).exists()


def names() -> list[str]:
    """Names that were put into the keyring, sorted. The keyring itself is not asked."""
    try:
        return sorted(path.name for path in (paths.home() / "keyring").iterdir() if possible(path.name))
    except OSError:  # nothing was ever set
        return []


def get(name: str) -> str | None:
    """The token; None where the keyring has it no more. Raises NoKeyring, or MachineError where it is locked."""
    with _explained(name):
        return _keyring().get_password(SERVICE, name)


def put(name: str, value: str) -> None:
    """Keep a token. Raises NoKeyring, MachineError where it is locked or FT_HOME cannot be written."""
    with _explained(name):
        keyring = _keyring()
        keyring.set_password(SERVICE, name, value)
        kept = keyring.get_password(SERVICE, name) == value
    if not kept:
        raise NoKeyring(name)
    try:
        _mark(name).parent.mkdir(parents=True, exist_ok=True)
        _mark(name).touch()
    except OSError as error:
        raise MachineError(
            f"Cannot write {_mark(name)}: {error.strerror}.", "Free space, or set FT_HOME to another folder."
        ) from error


def remove(name: str) -> None:
    """Take a token out. Raises as `get` does."""
    with _explained(name):
        keyring = _keyring()
        if keyring.get_password(SERVICE, name) is not None:
            keyring.delete_password(SERVICE, name)
    _mark(name).unlink(missing_ok=True)


def keyring_name() -> str | None:
    """The keyring that holds tokens here, for people; None where there is none that could. Unlocks nothing."""
    from keyring.errors import KeyringError, NoKeyringError

    try:
        backend = _keyring()
    except (KeyringError, NoKeyringError, RuntimeError):
        return None
    first = next(iter(getattr(backend, "backends", ())), backend)
    return None if "fail" in type(first).__module__ else str(getattr(first, "name", type(first).__name__))


def _mark(name: str) -> Path:
    """The empty file that says that the keyring has this name."""
    return paths.home() / "keyring" / name


def _keyring() -> "KeyringBackend":
    """The system's keyring. Raises NoKeyringError for one that would write tokens into a plain file."""
    import keyring
    from keyring.errors import NoKeyringError

    backend = keyring.get_keyring()
    first = next(iter(getattr(backend, "backends", ())), backend)
    if type(first).__name__.startswith("Plaintext"):
        raise NoKeyringError("plain text")
    return backend


def _otherwise(name: str) -> str:
    return (
        f"keep the token in an encrypted file: ft secrets set {name} --file. "
        f"The environment variable {name} works too."
    )


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what keyrings raise into MachineErrors, without the values that their tracebacks may hold."""
    from keyring.errors import KeyringLocked, NoKeyringError

    try:
        yield
    except NoKeyringError:
        raise NoKeyring(name) from None
    except KeyringLocked:
        hint = f"Unlock it and try again, or {_otherwise(name)}"
        raise MachineError("The system's keyring is locked.", hint) from None
    except Exception as error:  # each system's keyring has errors of its own
        hint = f"Look whether it runs, or {_otherwise(name)}"
        raise MachineError(f"The system's keyring failed ({type(error).__name__}).", hint) from None
