"""Keyrings for tests: real backends of the keyring library that reach no desktop."""

from collections.abc import Callable

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class MemoryKeyring(KeyringBackend):
    """Holds tokens as long as the test runs, and counts how often it is called."""

    priority = -1.0  # never chosen by itself

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}
        self.asked = 0

    def get_password(self, service: str, username: str) -> str | None:
        self.asked += 1
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.held.pop((service, username), None) is None:
            raise PasswordDeleteError(username)


class LockedKeyring(MemoryKeyring):
    """As a desktop's keyring whose person has dismissed the question for its password."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("dismissed")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise KeyringLocked("dismissed")

    def delete_password(self, service: str, username: str) -> None:
        raise KeyringLocked("dismissed")


class PlaintextKeyring(MemoryKeyring):
    """Named as keyrings.alt's backend that writes into a file."""


UseKeyring = Callable[[KeyringBackend], None]
