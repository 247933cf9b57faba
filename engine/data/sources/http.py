"""Files at https:// addresses: cached, revalidated with the server, and used as cached without network."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote

import httpx

from engine import addresses, offline
from engine.data.readers.registry import KNOWN, PACKED, kind_of
from engine.data.sources import file_cache
from engine.errors import DataError
from engine.models import transfer
from engine.models.starter import Progress, silent

HERE = ("localhost", "127.0.0.1", "::1")
KINDS = {
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/tab-separated-values": ".tsv",
}
"""Suffixes by content type, for addresses that have none."""
UNREACHABLE = (httpx.TransportError, httpx.RemoteProtocolError)


@dataclass(frozen=True)
class WebFile:
    """A fetched file, its name for people, and notes about it."""

    path: Path
    name: str
    notes: tuple[str, ...] = ()


def shown(url: str) -> str:
    """An address for people: without what may be secret in it."""
    parts = _parts(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}"


def is_cached(url: str) -> bool:
    """Return True if the file of an address is cached. Asks no server."""
    return _cached_file(file_cache.read_note(_key(url))) is not None


def fetch(url: str, progress: Progress = silent) -> WebFile:
    """Fetch the file at an address, unless the cached one is current; used as it is without network.

    Raises `DataError` where it cannot be had and is not cached, MachineError where the disk is full.
    """
    name = _allowed(url)
    key = _key(url)
    about = file_cache.read_note(key)
    have = _cached_file(about)
    if offline.everywhere():
        return _as_cached(name, key, about, have, f"{offline.variable()} forbids to ask for it")
    try:
        url = addresses.whole(url)
    except addresses.MissingAddressError as error:
        if have is None:
            raise _unknown(name, error.name) from None
        return _as_cached(name, key, about, have, "its password or signature is not stored with the run")
    try:
        answer = _ask(url, about if have else {})
    except UNREACHABLE as error:
        return _as_cached(name, key, about, have, f"cannot be reached ({error or type(error).__name__})")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DataError(f"{name}: cannot be fetched: {error}", "Check the address.") from error
    if answer.status_code == httpx.codes.NOT_MODIFIED and have:
        file_cache.write_note(key, about)
        return WebFile(have, name)
    if answer.status_code >= 500:
        return _as_cached(name, key, about, have, f"answers {answer.status_code}")
    if answer.status_code >= 400:
        raise DataError(
            f"{name}: the server answers {answer.status_code}", "Check the address, and that it is public."
        )
    return _download(url, name, key, answer, progress)


def _allowed(url: str) -> str:
    """The address for people. Raises `DataError` where anyone on the way could change what it gives."""
    parts, name = _parts(url), shown(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in HERE):
        return name
    if parts.scheme == "http":
        raise DataError(
            f"{name}: http:// is not read: anyone on the way could change the data",
            "Use https://, or a file.",
        )
    raise DataError(f"{name}: addresses of {parts.scheme}:// are not read", "Use https://, or a file.")


def _key(url: str) -> str:
    """Cache key of a file: the same for an address and for what a run stores of it."""
    return file_cache.key_of("url", addresses.stored(url))


def _parts(url: str) -> SplitResult:
    """The parts of an address. Raises `DataError` where it is none."""
    try:
        return addresses.split(url)
    except ValueError as error:
        raise DataError(f"{url}: is not an address: {error}", "Check the address.") from error


def _unknown(name: str, secret: str) -> DataError:
    return DataError(
        f"{name}: its password or signature is not stored with the run, and the file is not cached here",
        f"Set {secret} to the whole address, as an environment variable or with `ft secrets set {secret}`, "
        "and run again.",
    )


def _ask(url: str, about: dict[str, Any]) -> httpx.Response:
    """Ask the server about a file; it sends none that is as cached."""
    headers = {"Accept-Encoding": "identity"}
    if about.get("etag"):
        headers["If-None-Match"] = about["etag"]
    if about.get("modified"):
        headers["If-Modified-Since"] = about["modified"]
    with (
        httpx.Client(follow_redirects=True, timeout=30, event_hooks={"request": [_check_step]}) as client,
        client.stream("GET", url, headers=headers) as answer,
    ):
        return answer


def _check_step(request: httpx.Request) -> None:
    """Refuse a redirect to an address that is not allowed. Raises `DataError`."""
    _allowed(str(request.url))


def _download(url: str, name: str, key: str, answer: httpx.Response, progress: Progress) -> WebFile:
    etag, modified = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
    suffix = _suffix(url, name, answer)
    # A part is gone on with only under the same mark of the server's; without one, it starts over.
    mark = etag or modified or str(time.time_ns())
    target = file_cache.folder() / f"{file_cache.key_of('body', url, mark)}{suffix}"
    size = int(answer.headers.get("Content-Length", 0))
    with file_cache.writing(target.parent):
        file_cache.check_free_space(target.parent, size)
        same = {"If-Range": etag} if etag and not etag.startswith("W/") else {}
        try:
            digest = transfer.download(
                url, target, lambda done, all_: progress(f"fetching {name}", done, all_), same, _check_step
            )
        except httpx.HTTPError as error:
            raise DataError(
                f"{name}: the download broke off: {error or type(error).__name__}",
                "Run again: the download resumes where the server supports it.",
            ) from error
    note = {"from": name, "file": target.name, "size": target.stat().st_size, "sha256": digest}
    file_cache.write_note(key, {**note, "etag": etag, "modified": modified})
    file_cache.write_note(target.name.partition(".")[0], note)
    file_cache.clean(key)
    return WebFile(target, name, (f"{name}: fetched, {note['size']:,} bytes, sha256 {digest}",))


def _as_cached(name: str, key: str, about: dict[str, Any], have: Path | None, why: str) -> WebFile:
    """The cached file, where the server cannot be asked about it."""
    if have is None:
        raise DataError(f"{name}: {why}, and it is not cached here", "Check the network, or give a file.")
    file_cache.write_note(key, about)
    return WebFile(have, name, (f"{name}: {why}; the cached copy is used, sha256 {about['sha256']}",))


def _cached_file(about: dict[str, Any]) -> Path | None:
    """The file of a note, if it is there as it was noted."""
    path = file_cache.folder() / str(about.get("file", ""))
    if not about.get("file") or not path.is_file() or path.stat().st_size != about["size"]:
        return None
    file_cache.write_note(path.name.partition(".")[0], about)
    return path


def _suffix(url: str, name: str, answer: httpx.Response) -> str:
    """Suffix of the file's kind: by its address, by the name that the server gives it, or by its content type."""
    said = re.search(r'filename\*?="?([^";]+)', answer.headers.get("Content-Disposition", ""))
    for candidate in (_parts(url).path, said.group(1) if said else "", answer.url.path):
        if kind := kind_of(candidate):
            packed = Path(candidate).suffix.lower()
            return kind + (packed if packed in PACKED else "")
    called = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if called not in KINDS:
        raise DataError(
            f"{name}: neither its name nor the server says what kind of file it is", f"Known: {KNOWN}."
        )
    return KINDS[called]
