"""Requests that are refused, as OpenAI's API words it: a status, a message, the parameter, a code."""

from collections.abc import Iterable, Mapping
from typing import Any

from engine.errors import ConfigError, DataError, FtError, ModelError

NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
"""Header by which OpenAI's clients know that the same request would fail again."""
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
}
BUSY_S = 1
"""Seconds after which a client that finds the queue full may try again."""


class Refused(Exception):  # noqa: N818 - an answer to the client
    """A request that gets an error for an answer."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON has it."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def wrong(param: str | None, message: str) -> Refused:
    """A parameter that cannot be used."""
    return Refused(400, message, param, "invalid_value")


def unsupported(param: str, why: str = "") -> Refused:
    """A parameter that this server does not have."""
    return Refused(
        400, f"`{param}` is not supported here.{' ' if why else ''}{why}", param, "unsupported_parameter"
    )


def no_model(name: str, known: Iterable[str]) -> Refused:
    """A model that is not here."""
    words = f"There is no model {name[:200]!r} here. There are: {', '.join(known)}."
    return Refused(404, words, "model", "model_not_found")


def busy() -> Refused:
    """As many requests wait as may."""
    return Refused(429, "Too many requests are waiting.", None, "queue_full", {"Retry-After": str(BUSY_S)})


def not_ready(message: str) -> Refused:
    """The server loads its model, or stops."""
    return Refused(503, message, None, "not_ready", {"Retry-After": "2"})


def failed(error: Exception) -> Refused:
    """The answer to a failure: the client's where the request is at fault, else the server's."""
    if isinstance(error, ConfigError | DataError):
        return Refused(400, f"{error.message} {error.hint}".strip(), None, "invalid_request")
    if isinstance(error, ModelError | FtError):
        return Refused(500, error.message, None, error.kind, NO_RETRY)
    return Refused(500, f"The server failed: {type(error).__name__}.", None, "internal", NO_RETRY)
