"""Tokens and passwords taken out of text, before it is shown or written anywhere.

What counts as secret: the values of environment variables whose names say so (`HF_TOKEN`, `WANDB_API_KEY`,
`PGPASSWORD`) and of the tokens that this process was handed; user names and passwords in addresses, and the parts of
their queries that sign or authorise; the credentials of HTTP headers; tokens of the hub by how they begin.
"""

import os
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

HIDDEN = "***"
"""Text in place of a secret."""
HANDED = "FT_TOKENS"
"""The environment variable that lists the names of the tokens this process was handed (`engine.secrets.adopt`)."""
SHORTEST = 8
"""Characters of the shortest value that is looked for in text: a shorter one would be found everywhere."""
_NAME = re.compile(r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|(?:API|ACCESS|PRIVATE|SECRET)_?KEY)$")
_USER = re.compile(r"(://)(?!git@|\$\{URL_)[^\s/?#]*@")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`]+")
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*@)?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_PLACEHOLDER = re.compile(r"\$\{URL_[0-9A-F]{8}\}")
_HEADER = re.compile(
    r"((?:proxy-)?authorization|x-api-key|(?:set-)?cookie)"
    r"(['\"]?\s*[:=]\s*(?-i:b?)['\"]?|['\"]\s*,\s*(?-i:b?)['\"])"  # as a header, a mapping or a pair, in bytes too
    r"((?:basic|bearer|token)\s+)?[^\s'\",;)\]}]+",
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
        # First the passwords, which may have signs that end an address in text.
        text = _USER.sub(rf"\1{HIDDEN}@", text)
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
