"""The door of the server: whom it answers, with which key, and how much it listens to.

A page in a browser may send requests to this machine under a name that it has made point here (DNS rebinding), so
that both the name that was asked for and the page's own origin are looked at.
"""

import hmac
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.serving.refusals import Refused

LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
OPEN_TO_ALL = ("/health", "/ready")
"""Answered without a key: they tell nothing of the models."""


@dataclass(frozen=True)
class Door:
    """Rules of the door."""

    hosts: Collection[str] | None = LOCAL
    """Names under which the server may be asked; None for any, which needs a key."""
    key: str | None = None
    most_body: int = 4 << 20
    """Bytes of the longest body."""

    def check(self, path: str, headers: Headers) -> None:
        """Raise Refused for a request that is not let in."""
        host = _name(f"//{headers.get('host', '')}")
        if self.hosts is not None and host not in self.hosts:
            raise Refused(403, "This server is not to be asked under that name.", None, "wrong_host")
        origin = headers.get("origin")
        if origin is not None and _name(origin) != host:
            raise Refused(403, "Pages of other origins may not ask this server.", None, "wrong_origin")
        if self.key is not None and path not in OPEN_TO_ALL:
            given = headers.get("authorization", "").removeprefix("Bearer ").encode()
            if not hmac.compare_digest(given, self.key.encode()):
                raise Refused(401, "The API key is missing or wrong.", None, "invalid_api_key")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self.most_body:
            raise self.too_long()

    def too_long(self) -> Refused:
        """The answer to a body beyond the limit."""
        return Refused(413, f"The body is longer than {self.most_body} bytes.", None, "body_too_long")


class Guard:
    """ASGI middleware that lets in what its `Door` does."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.door.most_body:
                raise self.door.too_long()
            return message

        try:
            self.door.check(scope["path"], Headers(scope=scope))
        except Refused as refused:
            response = JSONResponse(refused.body, refused.status, refused.headers)
            await response(scope, receive, send)
            return
        await self.app(scope, counted, send)


def is_local(host: str) -> bool:
    """Return True for an address that only this machine reaches."""
    try:
        return host in LOCAL or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(address: str) -> str:
    """The name in an address, without its port; empty where there is none."""
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""
