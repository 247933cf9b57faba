"""Addresses that hold a password or a signature: stored without it, whole again where they are asked.

A run stores `https://${URL_1A2B3C4D}@host/rows.jsonl` for `https://user:password@host/rows.jsonl`; `URL_1A2B3C4D` is
the name of a secret (`engine.secrets`) that holds the whole address. The name is derived from the address, so that a
secret is sent nowhere but to the host that it was given for.
"""

import hashlib
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from engine import secrets
from engine.redaction import HIDDEN, URL, public_url

_PLACEHOLDER = re.compile(rf"\$\{{({secrets.OF_ADDRESS.pattern})\}}")


class MissingAddressError(Exception):
    """The secret of an address is not known here: `name` is the one that it is looked for under."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def stored(url: str) -> str:
    """The address as it may be written down; the same one where it has nothing secret, or is stored already."""
    if public_url(url) == url:
        return url
    return public_url(url, f"${{{_name(url)}}}")


def whole(url: str) -> str:
    """The address to ask for what `stored` has made.

    Raises MissingAddressError where its secret is not set, or is another address; MachineError for a locked keyring.
    """
    found = _PLACEHOLDER.search(url)
    if found is None:
        return url
    value = secrets.get(found[1])
    if value is None or stored(value) != url:
        raise MissingAddressError(found[1])
    return value


def without_secrets(body: Any) -> tuple[Any, dict[str, str]]:
    """Plain data with every address in it as it may be stored, and the whole addresses by their secrets' names."""
    found: dict[str, str] = {}

    def replaced(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: replaced(item) for key, item in value.items()}
        if isinstance(value, list):
            return [replaced(item) for item in value]
        if isinstance(value, str) and "://" in value:
            # A source may also be a mapping, written as JSON: then the address is a part of the text.
            return URL.sub(lambda part: noted(part[0]), value) if value.startswith("{") else noted(value)
        return value

    def noted(address: str) -> str:
        if (kept := stored(address)) != address:
            found[_name(address)] = address
        return kept

    return replaced(body), found


def split(url: str) -> urllib.parse.SplitResult:
    """The parts of an address. Raises ValueError, in words, where it is not an address."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise ValueError("it names no host")
    _ = parts.port  # which is looked at only when it is asked for
    return parts


def names(text: str) -> Iterator[str]:
    """The secrets that the addresses in a text ask for."""
    yield from dict.fromkeys(found[1] for found in _PLACEHOLDER.finditer(text))


def _name(url: str) -> str:
    """`URL_` and eight digits that tell addresses apart. Slow on purpose: nobody should find a password by its name."""
    digest = hashlib.scrypt(url.encode(), salt=public_url(url, HIDDEN).encode(), n=1 << 14, r=8, p=1, dklen=4)
    return f"URL_{digest.hex().upper()}"
