"""The keyring, the tokens in it, and the way to the hub."""

import os
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from engine import offline, secrets
from engine.doctor.finding import Finding, note, ok, warning
from engine.redaction import public_url

HUB = "https://huggingface.co"
PATIENCE_S = 1.2
"""Seconds for the hub to answer; without a network the answer comes at once."""
ANSWERS = (401, 404, 405)
"""Errors that a hub itself answers, a mirror without this page among them."""
SKEW_S = 300
"""Seconds that a clock may be wrong before certificates and signed addresses are refused."""


def keyring() -> Iterator[Finding]:
    """Where tokens can be kept, and which are set. No keyring is unlocked for it."""
    name = secrets.keyring_name()
    if name is None:
        yield warning(
            "keyring",
            "This system has no keyring: tokens come from environment variables or an encrypted file.",
            "ft secrets set HF_TOKEN --file; on Linux, GNOME Keyring, KWallet and KeePassXC are keyrings.",
        )
    else:
        yield ok("keyring", f"Tokens are kept in {name}")
    states = [f"{state.name} ({state.where})" for state in secrets.listed() if state.place != "none"]
    yield note("tokens", "Tokens set: " + ", ".join(states) if states else "No tokens are set.")


def hub() -> Iterator[Finding]:
    """Whether the hub answers, how fast, and whether the clock is right. Sends no token."""
    if offline.from_hub():
        return  # said among the variables
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
    if not urlsplit(endpoint).hostname:
        return
    import httpx

    began = time.monotonic()
    try:
        answer = httpx.head(f"{endpoint}/api/models?limit=1", timeout=PATIENCE_S)
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError, OSError) as error:
        yield warning(
            "hub",
            f"{public_url(endpoint)} does not answer ({type(error).__name__}).",
            "Without a network everything works but search, pull and push; with one, look at proxy and firewall.",
        )
        return
    if answer.is_error and answer.status_code not in ANSWERS:
        yield warning(
            "hub",
            f"{public_url(endpoint)} answers {answer.status_code} {answer.reason_phrase}.",
            "A proxy or firewall may be in between (407: it wants a password); otherwise try later.",
        )
        return
    yield ok("hub", f"{public_url(endpoint)} answers in {(time.monotonic() - began) * 1000:.0f} ms")
    yield from clock(answer.headers.get("date"), time.time())


def clock(date: str | None, now: float) -> Iterator[Finding]:
    """This machine's clock (unix seconds) against the `Date` of an answer."""
    try:
        apart = now - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError):
        return
    if abs(apart) > SKEW_S:
        side = "ahead" if apart > 0 else "behind"
        yield warning(
            "clock",
            f"This machine's clock is {abs(apart) / 60:.0f} minutes {side} of the hub's.",
            "Set the clock (sudo timedatectl set-ntp true): certificates and signed addresses depend on it.",
        )
