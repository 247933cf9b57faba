"""Tokens and passwords taken out of text, before it is shown or written anywhere.

What counts as secret: the values of environment variables whose names say so (`HF_TOKEN`, `WANDB_API_KEY`,
`PGPASSWORD`) and of the tokens that this process was handed; user names and passwords in addresses, and the parts of
their queries that sign or authorise; the credentials of HTTP headers; tokens of the hub by how they begin.
"""

import io
import os
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.regular_files import open_handle

HIDDEN = "***"
"""What stands in a secret's place."""
HANDED = "FT_TOKENS"
"""The environment variable that lists the names of the tokens this process was handed (`engine.secrets.adopt`)."""
SHORTEST = 8
"""Characters of the shortest value that is looked for in text: a shorter one would be found everywhere."""
BLOCK = 1 << 20
_NAME = re.compile(r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|(?:API|ACCESS|PRIVATE|SECRET)_?KEY)$")
_USER = re.compile(r"(://)(?!git@|\$\{URL_)[^\s/?#]*@")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`]+")
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*@)?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_PLACEHOLDER = re.compile(r"\$\{URL_[0-9A-F]{8}\}")
_HEADER = re.compile(
    r"((?:proxy-)?authorization|x-api-key|(?:set-)?cookie)(['\"]?\s*[:=]\s*(?-i:b?)['\"]?|['\"]\s*,\s*(?-i:b?)['\"])((?:basic|bearer|token)\s+)?"
    r"[^\s'\",;)\]}]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)[A-Za-z0-9+/_~.=-]{8,}", re.IGNORECASE)
_HUB = re.compile(r"\bhf_[A-Za-z0-9]{8,}")
_SIGNING = re.compile(
    r"(?:^|[^a-z])(?:sig|pass|pwd|key|apikey|auth|session|policy|jwt|code|hmac)(?:$|[^a-z])"
    r"|signature|token|secret|passw|credential|authorization",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+/_%=~-]{24,}")


def redacted(text: str) -> str:
    """The text with `***` in place of every secret in it."""
    for value in _values():
        if value in text:
            text = text.replace(value, HIDDEN)
    if "://" in text:
        text = _USER.sub(
            rf"\1{HIDDEN}@", text
        )  # first: a password may have signs that end an address in text
        text = URL.sub(lambda found: public_url(found[0]), text)
    text = _HEADER.sub(lambda found: f"{found[1]}{found[2]}{found[3] or ''}{HIDDEN}", text)
    text = _BEARER.sub(lambda found: found[1] + HIDDEN, text)
    return _HUB.sub(f"hf_{HIDDEN}", text) if "hf_" in text else text


def redacted_values(body: Any) -> Any:
    """Plain data (mappings, lists, text) with every text in it redacted."""
    if isinstance(body, str):
        return redacted(body)
    if isinstance(body, dict):
        return {key: redacted_values(value) for key, value in body.items()}
    return [redacted_values(value) for value in body] if isinstance(body, list | tuple) else body


def redact_output() -> None:
    """From now on, let Python write to this process's stdout and stderr without secrets: prints, warnings, tracebacks.

    What native code writes by itself does not come through here; `scrub` takes it out of the file afterwards.
    """
    sys.stdout, sys.stderr = _Redacted(sys.stdout.buffer), _Redacted(sys.stderr.buffer)


def scrub(path: Path, values: Iterable[str], since: int = 0) -> None:
    """Overwrite secrets in a log with `*`, in place, from byte `since` on; others may go on appending to it.

    Raises OSError; a file that is not there has none.
    """
    hidden = {
        part.encode() for value in values for part in (value, *secrets_of(value)) if len(part) >= SHORTEST
    }
    longest = max(map(len, hidden), default=0)
    if not longest or not path.exists():
        return
    with os.fdopen(open_handle(path, os.O_RDWR), "r+b") as file:
        place = since
        file.seek(place)
        while data := file.read(BLOCK + longest):
            for value in hidden:
                found = data.find(value)
                while found >= 0:
                    file.seek(place + found)
                    file.write(b"*" * len(value))
                    found = data.find(value, found + 1)
            place += BLOCK
            file.seek(place)


def public_url(url: str, hidden: str = HIDDEN) -> str:
    """An address with `hidden` in place of its user name and password, and of what in its query may be secret."""
    found = _PARTS.fullmatch(url)
    if found is None:
        return url
    scheme, user, place, query, fragment = found.groups()
    user = user and (user if user == "git@" or _PLACEHOLDER.fullmatch(user[:-1]) else f"{hidden}@")
    return f"{scheme}{user or ''}{place}{_public_query(query or '', hidden)}{fragment or ''}"


def _public_query(query: str, hidden: str) -> str:
    """The query with the values hidden that sign, authorise, or look random."""
    parts = re.split(r"([?&;])", query)
    return "".join(_public_parameter(part, hidden) for part in parts)


def _public_parameter(part: str, hidden: str) -> str:
    name, equals, value = part.partition("=")
    if not equals:
        return hidden if _RANDOM.fullmatch(part) else part
    secret = value and (_SIGNING.search(name) or _RANDOM.fullmatch(value))
    return f"{name}={hidden}" if secret and not _PLACEHOLDER.fullmatch(value) else part


def _values() -> list[str]:
    """The secrets in this process's environment, as they are and as addresses write them, the longest first."""
    found = {written for value in _held() for written in (value, urllib.parse.quote(value, safe=""))}
    return sorted(found, key=len, reverse=True)


def _held() -> Iterator[str]:
    handed = os.environ.get(HANDED, "").split(",")
    for name, value in os.environ.items():
        if "://" in value:
            yield from (part for part in secrets_of(value) if len(part) >= SHORTEST)
        elif len(value) >= SHORTEST and (name in handed or _NAME.search(name)):
            yield value


def secrets_of(url: str) -> Iterator[str]:
    """The password of an address, and the values in its query that are secret; nothing of other text."""
    found = _PARTS.fullmatch(url)
    if found is None:
        return
    if found[2]:
        user, _, password = found[2][:-1].partition(":")
        yield urllib.parse.unquote(password or user)
    for part in re.split(r"[?&;]", found[4] or ""):
        if part and _public_parameter(part, HIDDEN) != part:
            yield urllib.parse.unquote(part.partition("=")[2] or part)


class _Redacted(io.TextIOWrapper):
    """A text stream that writes at once, and no secrets."""

    def __init__(self, buffer: Any) -> None:
        super().__init__(buffer, "utf-8", "backslashreplace", line_buffering=True, write_through=True)

    def write(self, text: str) -> int:
        super().write(redacted(text))
        return len(text)
