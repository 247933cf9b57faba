"""One question to a service over HTTP, and its refusals in words. No message repeats a token or what a server said."""

import json
import time
from collections.abc import Mapping
from typing import Any

from engine.errors import CheckFailed, HubError
from engine.redaction import public_url
from engine.text import printable

PATIENCE_S = 10.0
"""Seconds until a service that does not answer is given up."""
LARGEST = 1 << 20
"""Bytes of the largest answer that is read."""
LONGEST = 80
"""Characters of a name in an answer that are shown."""
FINE = "the token may be fine."


class TokenRejected(CheckFailed):
    """The service does not take the token."""


def ask(
    title: str,
    url: str,
    renew: str,
    *,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Any:
    """The JSON that a service answers; `body` is posted. `renew` says where a new token comes from.

    Raises TokenRejected for 401 and 403, HubError where it cannot be reached, is too slow or answers something else.
    """
    import httpx

    try:
        status, data = _sent(url, dict(headers or {}), auth, body)
    except httpx.TimeoutException:
        raise HubError(
            f"{title} has not answered within {PATIENCE_S:.0f} seconds.", f"Try later; {FINE}", True
        ) from None
    except UnicodeError:
        raise rejected(title, renew) from None  # no token has letters that a header cannot carry
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.DecodingError, ValueError):
        raise not_its_api(title, url) from None
    except (httpx.TransportError, OSError, ImportError) as error:  # the last for a proxy of SOCKS
        raise HubError(
            f"{title} cannot be reached at {_host(url)} ({type(error).__name__}).",
            f"Check the network and the address; {FINE}",
            True,
        ) from None
    if len(data) > LARGEST:
        raise not_its_api(title, url)
    return _read(title, url, renew, status, data)


def _sent(
    url: str, headers: dict[str, str], auth: tuple[str, str] | None, body: Mapping[str, Any] | None
) -> tuple[int, bytes]:
    """Status and body of the answer, of which no more is read than a little over `LARGEST`. Raises httpx's errors."""
    import httpx

    headers |= {"Accept": "application/json", "User-Agent": "ft"}
    content, until = None, time.monotonic() + PATIENCE_S
    if body is not None:
        content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    method, data = "GET" if content is None else "POST", b""
    with (
        httpx.Client(timeout=PATIENCE_S, follow_redirects=False) as client,
        client.stream(method, url, headers=headers, auth=auth, content=content) as answer,
    ):
        for part in answer.iter_bytes():
            data += part
            if len(data) > LARGEST:
                break
            if time.monotonic() > until:
                raise httpx.ReadTimeout("")
        return answer.status_code, data


def _read(title: str, url: str, renew: str, status: int, data: bytes) -> Any:
    if status == 401:
        raise rejected(title, renew)
    if status == 403:
        raise TokenRejected(f"{title} rejects this token: it may not ask that (403).", renew)
    if status == 404 or 300 <= status < 400:
        raise not_its_api(title, url)
    if status != 200:
        raise HubError(f"{title} answers {status}.", f"Try later; {FINE}", True)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise not_its_api(title, url) from None


def rejected(title: str, renew: str) -> TokenRejected:
    """The error for a service that does not know the token."""
    return TokenRejected(f"{title} rejects this token.", renew)


def offline(title: str, variable: str) -> HubError:
    """The error where a person has said that a service is not to be asked."""
    return HubError(
        f"{variable} is set, so {title[:1].lower()}{title[1:]} cannot be asked."
        if title.startswith("The ")
        else f"{variable} is set, so {title} cannot be asked.",
        f"Unset {variable} to test the token.",
        True,
    )


def not_its_api(title: str, url: str) -> HubError:
    """The error for an address where something else answers."""
    name = f"{title[:1].lower()}{title[1:]}" if title.startswith("The ") else title
    return HubError(f"What answers at {_host(url)} is not {name}'s API.", "Check the address, and the proxy.")


def text(body: Any, *keys: str) -> str | None:
    """A text deep inside an answer, fit to be shown; None where there is none."""
    for key in keys:
        body = body.get(key) if isinstance(body, dict) else None
    return printable(body)[:LONGEST] if isinstance(body, str) and body else None


def _host(url: str) -> str:
    return public_url(url).partition("?")[0].split("/api/")[0].removesuffix("/graphql")
