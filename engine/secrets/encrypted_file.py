"""Tokens in a file that a passphrase opens: FT_HOME/secrets.enc, for machines without a keyring.

The key is scrypt's of the passphrase (N = 2^17, r = 8, p = 1, as OWASP advises: 128 MiB and about half a second a
guess); each token is sealed with AES-256-GCM under its name. So a name can be listed and removed without the
passphrase, and no value can be moved to another name. A checksum over everything tells a damaged file from a wrong
passphrase.
"""

import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import paths
from engine.errors import MachineError
from engine.secrets import passphrase as given
from engine.secrets.names import possible
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining, unreadable
from engine.storage.regular_files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
SALT_BYTES, NONCE_BYTES, KEY_BYTES = 16, 12, 32
LARGEST = 4 << 20
"""Bytes of the largest file that is read."""
PATIENCE_S = 10.0
"""Seconds to wait for another process that changes the file."""


class WrongPassphrase(MachineError):  # noqa: N818 - what a person typed
    """The passphrase does not open the file."""

    def __init__(self) -> None:
        super().__init__(
            f"The passphrase does not open {path()}.",
            f"Try again; {given.VARIABLE} counts before one that is typed. If it is lost, remove the tokens with "
            "ft secrets rm NAME, and set them again.",
        )


@dataclass(frozen=True)
class _Content:
    salt: bytes
    sealed: Mapping[str, bytes]
    """Nonce and ciphertext of each token, by its name."""


def path() -> Path:
    """The file, whether it is there or not."""
    return paths.home() / "secrets.enc"


def exists() -> bool:
    """True if there is something under the file's name."""
    return os.path.lexists(path())


def names() -> list[str]:
    """Names of the tokens in it, sorted; needs no passphrase. Raises MachineError where it is damaged or unreadable."""
    content = _read()
    return sorted(content.sealed) if content else []


def get(name: str, passphrase: str) -> str | None:
    """A token; None where the file has none of this name.

    Raises WrongPassphrase, and MachineError where the file is damaged or unreadable.
    """
    content = _read()
    if content is None or name not in content.sealed:
        return None
    return _opened(content, name, passphrase)


def put(values: Mapping[str, str], passphrase: str) -> None:
    """Keep tokens, beside those that are there; all of them are written at once, or none.

    Raises WrongPassphrase where the file was made with another one, ConfigError for one that is too short for a new
    file, MachineError where the file is damaged or cannot be written.
    """
    with _changing():
        content = _read()
        if content is None or not content.sealed:
            given.refuse_weak(passphrase)
            content = _Content(os.urandom(SALT_BYTES), {})
        else:
            _opened(content, min(content.sealed), passphrase)
        sealed = {name: _sealed(content.salt, name, value, passphrase) for name, value in values.items()}
        _write(_Content(content.salt, {**content.sealed, **sealed}))


def remove(name: str) -> None:
    """Take a token out; the file goes with its last one. Needs no passphrase.

    Raises MachineError where the file is damaged or cannot be written.
    """
    with _changing():
        content = _read()
        if content is None:
            return
        left = {other: value for other, value in content.sealed.items() if other != name}
        if left:
            _write(_Content(content.salt, left))
        else:
            path().unlink(missing_ok=True)


def _read() -> _Content | None:
    try:
        data = read_bytes(path(), LARGEST + 1)
    except FileNotFoundError:
        if exists():
            raise _damaged("it is a link to nothing") from None
        return None
    except OSError as error:
        raise unreadable(path(), error) from None
    if len(data) > LARGEST:
        raise _damaged("it is far too large")
    try:
        body = json.loads(data)
        written = body.pop("sha256")
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError):
        raise _damaged("it is cut off, or no file of ft's") from None
    if written != _checksum(body):
        raise _damaged("its checksum is wrong")
    if body.get("version") != VERSION:
        raise MachineError(f"{path()} is of a later version of ft.", "Update ft.")
    try:
        sealed = {str(name): b64decode(value, validate=True) for name, value in body["tokens"].items()}
        content = _Content(b64decode(body["salt"], validate=True), sealed)
    except (KeyError, AttributeError, TypeError, ValueError):
        raise _damaged("parts of it are missing") from None
    if not all(map(possible, sealed)) or len(content.salt) != SALT_BYTES:
        raise _damaged("parts of it are missing")
    return content


def _write(content: _Content) -> None:
    body = {
        "version": VERSION,
        "salt": b64encode(content.salt).decode(),
        "tokens": {name: b64encode(value).decode() for name, value in sorted(content.sealed.items())},
    }
    write_atomic(path(), json.dumps(body | {"sha256": _checksum(body)}, indent=1) + "\n", 0o600)


def _checksum(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _damaged(why: str) -> MachineError:
    return MachineError(
        f"{path()} is damaged: {why}.", "Put back a copy, or remove the file and set its tokens again."
    )


def _opened(content: _Content, name: str, passphrase: str) -> str:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = content.sealed[name]
    try:
        key = AESGCM(_key(passphrase, content.salt))
        return key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _label(name)).decode()
    except InvalidTag:
        raise WrongPassphrase from None
    except ValueError:  # shorter than a nonce, or no text: not written by us
        raise _damaged("parts of it are missing") from None


def _sealed(salt: bytes, name: str, value: str, passphrase: str) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, value.encode(), _label(name))


@lru_cache(maxsize=4)
def _key(passphrase: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=KEY_BYTES, n=1 << 17, r=8, p=1).derive(
        passphrase.encode("utf-8", "surrogatepass")
    )


def _label(name: str) -> bytes:
    """Bound to a value, so that nobody can put it under another name."""
    return f"ft secrets {VERSION} {name}".encode()


@contextmanager
def _changing() -> "Iterator[None]":
    """Keep other processes from changing the file at the same time; errors of the disk become MachineErrors."""
    from filelock import FileLock, Timeout

    with explaining(path()):
        path().parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path().with_suffix(".lock"), timeout=PATIENCE_S):
                yield
        except Timeout:
            raise MachineError(f"Another process is changing {path()}.", "Try again.") from None
