"""Tokens in the system's keyring, environment variables first; never in a file, a log, an event or a process list.

The names in the keyring are recorded by empty files under FT_HOME (`keyring/HF_TOKEN`), so that a keyring is only
loaded, and perhaps unlocked, by who needs a token. An engine process gets its tokens as one JSON line on stdin: what
is in a process's first environment can be read with `ps eww`.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from engine import paths
from engine.errors import ConfigError, HubError, MachineError
from engine.redaction import HANDED

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "ft"
"""Service name of our tokens in the keyring."""
HF_TOKEN = "HF_TOKEN"
PURPOSES = {
    HF_TOKEN: "Hugging Face: gated and private models",
    "WANDB_API_KEY": "Weights & Biases",
}
"""Tokens that are listed whether they are set or not."""
ALIASES = {HF_TOKEN: ("HUGGING_FACE_HUB_TOKEN",)}
"""Other variables that are looked at, in order, where that of the name itself is not set."""
NAME = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
NOT_OURS = re.compile(
    r"(LD|DYLD|FT|XDG|LC)_.*|PYTHON.*|PATH|HOME|USER|LOGNAME|SHELL|LANG|TERM|PWD|TMPDIR|DISPLAY"
)
"""Variables that change how programs run; a token under such a name would break the engine."""
OF_ADDRESS = re.compile(r"URL_[0-9A-F]{8}")
"""Names under which whole addresses with a password or a signature are handed over (`engine.addresses`)."""
LONGEST = 8192


@dataclass(frozen=True)
class SecretState:
    """Location of a token, never its value. `variable` is the environment variable that has it, if one does."""

    name: str
    place: Literal["environment", "keyring", "none"]
    purpose: str
    testable: bool
    variable: str | None = None

    @property
    def where(self) -> str:
        """The place, for people."""
        if self.variable not in (None, self.name):
            return f"environment ({self.variable})"
        return "not set" if self.place == "none" else self.place


def get(name: str) -> str | None:
    """The token: the environment's, else the keyring's; None where neither has it.

    Raises ConfigError for an impossible name, MachineError where the keyring has it but is locked or missing.
    """
    name = _named(name)
    variable = _variable(name)
    if variable is not None:
        return os.environ[variable]
    if not _mark(name).exists():
        return None
    with _explained(name):
        return _keyring().get_password(SERVICE, name)


def set(name: str, value: str) -> None:  # noqa: A001 - `secrets.set` is what it is
    """Keep a token in the keyring. Raises ConfigError for what cannot be one, MachineError without a keyring."""
    name = _named(name)
    if not value or len(value) > LONGEST or not value.isprintable() or value != value.strip():
        raise ConfigError(
            f"This cannot be a token for {name}: empty, too long, or with blanks or control characters.",
            "Copy the token again, as one line.",
        )
    with _explained(name):
        keyring = _keyring()
        keyring.set_password(SERVICE, name, value)
        kept = keyring.get_password(SERVICE, name) == value
    if not kept:
        raise _no_keyring(name)
    try:
        _mark(name).parent.mkdir(parents=True, exist_ok=True)
        _mark(name).touch()
    except OSError as error:
        raise MachineError(
            f"Cannot write {_mark(name)}: {error.strerror}.", "Free space, or set FT_HOME to another folder."
        ) from error


def forget(name: str) -> None:
    """Take a token out of the keyring. Raises ConfigError where it is not there, MachineError as `get` does."""
    name = _named(name)
    if not _mark(name).exists():
        variable = _variable(name)
        where = f" It comes from the environment variable {variable}." if variable else ""
        raise ConfigError(f"The keyring has no {name} of ft.{where}", "See what there is: ft secrets list")
    with _explained(name):
        keyring = _keyring()
        if keyring.get_password(SERVICE, name) is not None:
            keyring.delete_password(SERVICE, name)
    _mark(name).unlink(missing_ok=True)


def listed() -> list[SecretState]:
    """The names that ft knows or was given, and where each is. The keyring itself is not asked."""
    return [state_of(name) for name in dict.fromkeys((*PURPOSES, *_marked()))]


def state_of(name: str) -> SecretState:
    """Location of one token. Raises ConfigError for an impossible name."""
    name = _named(name)
    variable = _variable(name)
    place: Literal["environment", "keyring", "none"] = "none"
    if variable is not None:
        place = "environment"
    elif _mark(name).exists():
        place = "keyring"
    return SecretState(name, place, PURPOSES.get(name, "given to the engine"), name == HF_TOKEN, variable)


def test(name: str) -> str:
    """Ask the service that the token is for whose it is; the answer for a person.

    Raises ConfigError where there is no test or no token, HubError where the hub does not take it or cannot be
    reached, MachineError as `get` does.
    """
    if _named(name) != HF_TOKEN:
        raise ConfigError(f"There is no test for {name}.", f"{HF_TOKEN} has one.")
    token = get(name)
    if token is None:
        raise ConfigError(f"{name} is not set.", f"Set it with: ft secrets set {name}")
    import httpx
    from huggingface_hub import HfApi, errors

    try:
        answer = HfApi().whoami(token=token)
    except errors.OfflineModeIsEnabled:
        raise HubError(
            "HF_HUB_OFFLINE is set, so the hub cannot be asked.", "Unset HF_HUB_OFFLINE to test the token."
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            page = "https://huggingface.co/settings/tokens"
            raise HubError("The hub rejects this token.", f"Create a new one at {page}") from None
        raise HubError(f"The hub answers {status}.", "Try later; the token may be fine.") from None
    except (httpx.TransportError, OSError) as error:
        raise HubError(
            f"The hub cannot be reached ({type(error).__name__}).",
            "Check the network; the token may be fine.",
        ) from None
    role = answer.get("auth", {}).get("accessToken", {}).get("role")
    return f"The hub knows it: {answer.get('name', 'somebody')}" + (f", may {role}." if role else ".")


def carried(needed: Collection[str] = ()) -> dict[str, str]:
    """The tokens that an engine process is given: all that there are, and those `needed` that are set.

    Where the keyring is locked or missing, those in it are left out, unless one is `needed`: then MachineError is
    raised. (An engine that needs another after all asks the keyring itself, and says what is wrong with it.)
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys((*(state.name for state in listed()), *needed)):
        try:
            value = get(name)
        except MachineError:
            if name in needed:
                raise
            continue
        if value is not None:
            found[name] = value
    return found


def without(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment (this process's) as it may be given to a child: without the tokens that ft knows of."""
    names = {state.name for state in listed()}
    names |= {alias for name in names for alias in ALIASES.get(name, ())}
    given = os.environ if environment is None else environment
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
    os.environ[HANDED] = ",".join(values)  # so that `engine.redaction` knows them, whatever they are called


def renew(name: str, value: str | None) -> None:
    """Put another value of a token into this process's environment, or, with None, take it out.

    Raises ConfigError for an impossible name.
    """
    if value is None:
        os.environ.pop(_named(name), None)
    else:
        os.environ[_named(name)] = str(value)
        os.environ[HANDED] = f"{os.environ.get(HANDED, '')},{_named(name)}"


def _variable(name: str) -> str | None:
    return next((one for one in (name, *ALIASES.get(name, ())) if os.environ.get(one)), None)


def _mark(name: str) -> Path:
    """The empty file that says that the keyring has this name."""
    return paths.home() / "keyring" / name


def _marked() -> list[str]:
    try:
        return sorted(path.name for path in (paths.home() / "keyring").iterdir() if _possible(path.name))
    except OSError:  # nothing was ever set
        return []


def _possible(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and not NOT_OURS.fullmatch(name)


def _named(name: str) -> str:
    """The name that a token is kept under. Raises ConfigError for an impossible one."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a name for a token.",
            f"Use capital letters, digits and _, as an environment variable has, for example {HF_TOKEN}.",
        )
    if NOT_OURS.fullmatch(name):
        raise ConfigError(f"{name} changes how programs run; it cannot be a token.", "Choose another name.")
    return next((own for own, others in ALIASES.items() if name in others), name)


def _keyring() -> "KeyringBackend":
    """The system's keyring. Raises NoKeyringError for one that would write tokens into a plain file."""
    import keyring
    from keyring.errors import NoKeyringError

    backend = keyring.get_keyring()
    first = next(iter(getattr(backend, "backends", ())), backend)
    if type(first).__name__.startswith("Plaintext"):
        raise NoKeyringError("plain text")
    return backend


def keyring_name() -> str | None:
    """The keyring that holds tokens here, for people; None where there is none that could. Unlocks nothing."""
    from keyring.errors import KeyringError, NoKeyringError

    try:
        backend = _keyring()
    except (KeyringError, NoKeyringError, RuntimeError):
        return None
    first = next(iter(getattr(backend, "backends", ())), backend)
    return None if "fail" in type(first).__module__ else str(getattr(first, "name", type(first).__name__))


def _no_keyring(name: str) -> MachineError:
    return MachineError(
        f"This system has no keyring that could hold {name}.",
        f"Set the environment variable {name} instead. On Linux, GNOME Keyring, KWallet and KeePassXC are keyrings.",
    )


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what keyrings raise into MachineErrors, without the values that their tracebacks may hold."""
    from keyring.errors import KeyringLocked, NoKeyringError

    try:
        yield
    except NoKeyringError:
        raise _no_keyring(name) from None
    except KeyringLocked:
        hint = f"Unlock it and try again, or set the environment variable {name}."
        raise MachineError("The system's keyring is locked.", hint) from None
    except Exception as error:  # each system's keyring has errors of its own
        hint = f"Look whether it runs, or set the environment variable {name}."
        raise MachineError(f"The system's keyring failed ({type(error).__name__}).", hint) from None
