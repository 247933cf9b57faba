"""Operation that keeps the service's access tokens up to date."""

from dataclasses import dataclass

from engine import secrets
from engine.service.operation import Context, operation


@dataclass(frozen=True)
class TokenRequest:
    """A token by the name of its environment variable; None where it was forgotten."""

    name: str
    value: str | None


@operation("token", lane="arrival")
def token(context: Context, request: TokenRequest) -> None:
    """Set a token in this process, or remove it. Raises ConfigError for a name that ft does not manage."""
    secrets.renew(request.name, request.value)
