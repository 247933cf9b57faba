"""Variables and limits that a process inherits and that change what ft does."""

import os
import resource
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from engine import offline as offline_mode
from engine import secrets
from engine.doctor.finding import Finding, fault, note, ok, warning
from engine.hardware.probe import usable_cores
from engine.redaction import public_url
from engine.units import size

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
OFFLINE = (offline_mode.ALL, *offline_mode.HUB, "HF_DATASETS_OFFLINE")
FEW_FILES = 256
"""Open files under which a server with its clients, or a data set in many files, runs into the limit."""
Environment = Mapping[str, str]


def findings(environment: Environment = os.environ) -> Iterator[Finding]:
    """What is set, and in the way."""
    found = [
        *threads(environment),
        *proxies(environment),
        *certificates(environment),
        *endpoint(environment),
        *tokens(environment),
        *limits(),
        *offline(environment),
    ]
    if not any(one.state in ("warning", "fault") for one in found):
        yield ok("environment", "No variable or limit is in the way")
    yield from found


def threads(environment: Environment) -> Iterator[Finding]:
    """OpenMP's number of threads."""
    number = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    cores = usable_cores()
    if number and (not number.isdigit() or int(number) == 0):
        yield fault("omp-threads", f"OMP_NUM_THREADS={number!r} is no number.", "unset OMP_NUM_THREADS")
    elif number and int(number) < cores:
        yield warning(
            "omp-threads",
            f"OMP_NUM_THREADS={number}: training on the CPU uses {number} of {cores} cores.",
            "unset OMP_NUM_THREADS",
        )


def proxies(environment: Environment) -> Iterator[Finding]:
    """Proxies, and whether the hub's client can use them."""
    for name in (one for upper in PROXIES for one in (upper, upper.lower())):
        value = environment.get(name, "").strip()
        if not value:
            continue
        scheme = urlsplit(value).scheme if "://" in value else ""
        if scheme and scheme not in PROXY_SCHEMES:
            yield fault(
                "proxy",
                f"{name} has the scheme {scheme}, which the hub's client does not know.",
                f"export {name}=http://HOST:PORT",
            )
        elif scheme.startswith("socks") and find_spec("socksio") is None:
            yield fault(
                "proxy-socks",
                f"{name} is a SOCKS proxy, and the package socksio is not installed: no request gets out.",
                "pip install socksio",
            )
        else:
            yield note("proxy", f"{name}: requests go through {public_url(value)}")


def certificates(environment: Environment) -> Iterator[Finding]:
    """Files of certificates that are named and not there: every encrypted connection fails."""
    for name in CERTIFICATES:
        value = environment.get(name)
        if value and not Path(value).exists():
            yield fault("certificates", f"{name} names {value}, which is not there.", f"unset {name}")


def endpoint(environment: Environment) -> Iterator[Finding]:
    """Another hub than Hugging Face's."""
    value = environment.get("HF_ENDPOINT", "").strip()
    if not value:
        return
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield fault("endpoint", f"HF_ENDPOINT={value!r} is no address.", "export HF_ENDPOINT=https://HOST")
    else:
        yield note("endpoint", f"HF_ENDPOINT: the hub is {public_url(value)}")


def tokens(environment: Environment) -> Iterator[Finding]:
    """Tokens that were copied with something around them."""
    for name in (*secrets.PURPOSES, *(alias for others in secrets.ALIASES.values() for alias in others)):
        value = environment.get(name, "")
        if value and (value != value.strip(" \t\r\n\"'") or not value.isprintable()):
            yield fault(
                "token",
                f"The value of {name} has quotes, blanks or a line break around it: no service will take it.",
                f"Set it again without them, or: unset {name}; ft secrets set {name}",
            )
        elif name == secrets.HF_TOKEN and value and not value.startswith(("hf_", "api_org_")):
            yield warning(
                "token", f"{name} does not begin as a token of the hub does (hf_).", "ft secrets test"
            )


def limits() -> Iterator[Finding]:
    """Limits of the shell (`ulimit`)."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files != resource.RLIM_INFINITY and files < FEW_FILES:
        yield fault("open-files", f"This shell allows only {files} open files.", "ulimit -n 4096")
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if largest != resource.RLIM_INFINITY:
        yield fault(
            "file-size", f"This shell allows files of at most {size(largest)}.", "ulimit -f unlimited"
        )
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:
        yield warning("address-space", f"This shell allows {size(space)} of memory.", "ulimit -v unlimited")


def offline(environment: Environment) -> Iterator[Finding]:
    """Whether the hub may be asked at all."""
    set_ = [name for name in OFFLINE if environment.get(name, "").upper() in offline_mode.TRUE]
    if set_:
        yield note("offline", f"{' and '.join(set_)}: the hub is not asked.", f"unset {' '.join(set_)}")
