"""Tests of tokens: each service is asked once about all of its tokens that are set."""

from dataclasses import dataclass
from typing import Literal

from engine.errors import CheckFailed, ConfigError, FtError, HubError, MachineError
from engine.secrets import encrypted_file
from engine.secrets.names import named
from engine.secrets.services import SERVICES, Service, service_of
from engine.secrets.store import get, listed

Result = Literal["ok", "rejected", "not reached", "locked", "not set up", "no test"]


@dataclass(frozen=True)
class Verdict:
    """What a service says of its tokens. `error` is why it could not say yes."""

    names: tuple[str, ...]
    service: str
    result: Result
    message: str
    error: FtError | None = None


def test(name: str) -> str:
    """Ask the service that the token is for whose it is; the answer for a person.

    Raises ConfigError where there is no test or no token, TokenRejected where the service does not take it, HubError
    where it cannot be reached, MachineError as `get` does.
    """
    found = verdict(name)
    if found.error:
        raise found.error
    return found.message


def verdict(name: str) -> Verdict:
    """What the service says of one token. Raises ConfigError where there is no test or no token, or the service needs
    more, MachineError as `get` does."""
    name = named(name)
    service = service_of(name)
    if service is None or service.test is None:
        raise ConfigError(
            f"There is no test for {name}.",
            service.untested if service else "ft does not know the service that it is for.",
        )
    if get(name) is None:
        raise ConfigError(f"{name} is not set.", f"Set it with: ft secrets set {name}")
    found = _verdict(tuple(one for one in service.names if get(one)), service)
    if isinstance(found.error, ConfigError | MachineError):
        raise found.error
    return found


def test_all() -> list[Verdict]:
    """Ask about every token that is set, each service once; the verdicts in the order of the list.

    Raises MachineError where the encrypted file is damaged: nobody knows then what is set.
    """
    encrypted_file.names()
    names = [state.name for state in listed() if state.place != "none"]
    told = [
        _verdict(ours, service)
        for service in SERVICES
        if (ours := tuple(name for name in names if name in service.names))
    ]
    others = [name for name in names if service_of(name) is None]
    said = "There is no test for a name of your own."
    return told + [Verdict((name,), "", "no test", said) for name in others]


def _verdict(names: tuple[str, ...], service: Service) -> Verdict:
    if service.test is None:
        return Verdict(names, service.title, "no test", service.untested)
    try:
        return Verdict(names, service.title, "ok", service.test(_values(service)))
    except FtError as error:
        return Verdict(names, service.title, _result(error), error.message, error)


def _result(error: FtError) -> Result:
    if isinstance(error, CheckFailed):
        return "rejected"
    if isinstance(error, HubError):
        return "not reached"
    return "not set up" if isinstance(error, ConfigError) else "locked"


def _values(service: Service) -> dict[str, str]:
    """What is set of a service's tokens and settings. An address may be kept as a token is, for it may hold one."""
    found = {name: get(name) for name in (*service.names, *service.settings)}
    return {name: value for name, value in found.items() if value}
