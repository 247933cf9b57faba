"""A small Hugging Face hub on this machine for the real client: listings, ranges, cut connections."""

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.quiet_server import QuietServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONVERTED, PARQUET = "fedcba9876543210fedcba9876543210fedcba98", "refs/convert/parquet"
"""The commit and the name of the revision in which the hub has a dataset as Parquet."""


@dataclass
class Hub:
    """One repository, the faults to simulate, and the requests received."""

    repo: str
    folder: Path
    kind: str = "models"
    """Or `datasets`."""
    converted: Path | None = None
    """The hub's conversion of a dataset to Parquet."""
    gated: bool = False
    card: Mapping[str, str] = field(default_factory=dict)
    """The facts at the head of the model card."""
    listed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Other models that a search finds, by id: their facts as the hub lists them, and the folder of their files."""
    searches: list[dict[str, list[str]]] = field(default_factory=list)
    """Parameters of each search."""
    hold_search: Mapping[str, threading.Event] = field(default_factory=dict)
    """Searches for these words are answered once their event is set."""
    answers: list[str] = field(default_factory=list)
    """Words of the searches that were answered, in the order of the answers."""
    refused: int = 0
    """Status that searches are answered with; 0 for none."""
    hold_configs: threading.Event | None = None
    """Files of listed models are sent once this is set."""
    hold: threading.Event | None = None
    """Half of a safetensors file is sent, the rest once this is set."""
    halfway: threading.Event = field(default_factory=threading.Event)
    """Set when that half was sent."""
    tokens: list[str | None] = field(default_factory=list)
    """The Authorization header of each request."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes of a safetensors file the connection is closed, request by request."""
    busy: list[int] = field(default_factory=list)
    """Statuses that requests for safetensors files are answered with, one after the other."""
    damages: bool = False
    """A safetensors file arrives with one bit changed."""
    former: str = ""
    """The id that the repository had before it was renamed; requests for it are led on."""
    says_checksums: bool = True
    """False for a mirror whose listings leave them out."""
    delay_s: float = 0
    """Seconds before each answer, as a far network has."""
    at_work: int = 0
    together: int = 0
    """Safetensors files that are being sent now, and the most that ever were."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range header of each request."""
    sent: int = 0
    """Bytes of files that were sent."""
    url: str = ""

    def paths(self, method: str) -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.tokens.append(self.headers.get("Authorization"))
            root = f"/{hub.repo}" if hub.kind == "models" else f"/{hub.kind}/{hub.repo}"
            hub.requests.append((self.command, path, self.headers.get("Range", "")))
            time.sleep(hub.delay_s)
            about = f"/api/{hub.kind}/{hub.repo}"
            if hub.former and f"/{hub.former}" in path:
                self.send_response(307)
                self.send_header("Location", self.path.replace(hub.former, hub.repo))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if path == "/api/models":
                hub.searches.append(parse_qs(urlsplit(self.path).query))
                self.search(hub.searches[-1])
                return
            other, _, name = path.strip("/").partition("/resolve/")
            if other in hub.listed and "folder" in hub.listed[other]:
                if hub.hold_configs is not None:
                    hub.hold_configs.wait(60)
                self.reply_file(hub.listed[other]["folder"] / name.partition("/")[2], name.partition("/")[0])
                return
            if path == f"{about}/refs":
                converts = [ref(PARQUET, CONVERTED)] if hub.converted else []
                self.reply_json(
                    {"branches": [ref("refs/heads/main", COMMIT)], "converts": converts, "tags": []}
                )
                return
            commit, folder = COMMIT, hub.folder
            if hub.converted and (PARQUET in path or CONVERTED in path):
                commit, folder = CONVERTED, hub.converted
            files = {
                item.relative_to(folder).as_posix(): item for item in folder.rglob("*") if item.is_file()
            }
            if path in (about, *(f"{about}/revision/{name}" for name in ("main", PARQUET, commit))):
                blobs = hub.says_checksums and "blobs=true" in self.path.lower()
                siblings = [sibling(name, item, blobs) for name, item in files.items()]
                gated = "manual" if hub.gated else False
                about = {
                    "id": hub.repo,
                    "sha": commit,
                    "private": False,
                    "gated": gated,
                    "cardData": hub.card,
                }
                self.reply_json(about | {"siblings": siblings})
            elif path.startswith(f"{about}/tree/{commit}"):
                below = path.removeprefix(f"{about}/tree/{commit}").strip("/")
                deep = "recursive=true" in self.path.lower()
                self.reply_json(list(entries(files, f"{below}/" if below else "", deep)))
            elif path == f"{about}/paths-info/{commit}":
                length = int(self.headers["Content-Length"])
                asked = parse_qs(self.rfile.read(length).decode())["paths"]
                self.reply_json([entry(name, files[name]) for name in asked if name in files])
            elif path.startswith(f"{about}/revision/"):
                self.refuse(404, "RevisionNotFound")
            elif path.startswith(f"{root}/resolve/{commit}/"):
                name = path.removeprefix(f"{root}/resolve/{commit}/")
                if hub.gated:
                    self.refuse(403, "GatedRepo")
                elif name in files:
                    self.reply_file(files[name], commit)
                else:
                    self.refuse(404, "EntryNotFound")
            else:
                self.refuse(401, "RepoNotFound")

        def search(self, asked: dict[str, list[str]]) -> None:
            words = "".join(asked.get("search", []))
            if words in hub.hold_search:
                hub.hold_search[words].wait(60)
            if hub.refused:
                self.refuse(hub.refused, "")
            else:
                with suppress(OSError):  # the client may be gone
                    self.reply_json(list(found(hub.listed, asked)))
            hub.answers.append(words)

        def reply_json(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def reply_file(self, path: Path, commit: str) -> None:
            data = path.read_bytes()
            if hub.busy and self.command == "GET" and path.suffix == ".safetensors":
                self.send_response(hub.busy.pop(0))
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if hub.damages and path.suffix == ".safetensors":
                data = data[:-1] + bytes([data[-1] ^ 1])
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else len(data), len(data))
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("ETag", f'"{etag(path)}"')
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - start))
            if "Range" in self.headers:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            hub.sent += end - start
            if hub.cuts and path.suffix == ".safetensors":
                self.wfile.write(data[start : start + hub.cuts.pop(0)])
                self.close_connection = True
            elif hub.hold is not None and path.suffix == ".safetensors":
                half = (start + end) // 2
                self.wfile.write(data[start:half])
                hub.at_work += 1
                hub.together = max(hub.together, hub.at_work)
                hub.halfway.set()
                hub.hold.wait(60)
                hub.at_work -= 1
                with suppress(OSError):  # the client may be gone
                    self.wfile.write(data[half:end])
            else:
                self.wfile.write(data[start:end])

    server = QuietServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        for held in filter(None, (hub.hold, hub.hold_configs, *hub.hold_search.values())):
            held.set()  # else an answer that is held back would never end
        server.shutdown()
        thread.join()
        server.server_close()


def found(
    listed: Mapping[str, Mapping[str, Any]], asked: Mapping[str, list[str]]
) -> Iterator[dict[str, Any]]:
    """Models whose id has the words of a search, as many as asked for."""
    words = "".join(asked.get("search", [])).lower()
    suiting = [name for name in listed if words in name.lower()]
    for name in suiting[: int(asked.get("limit", ["100"])[0])]:
        facts = {key: value for key, value in listed[name].items() if key != "folder"}
        yield {"id": name, "sha": COMMIT, "private": False} | facts


def ref(name: str, commit: str) -> dict[str, str]:
    return {"name": name.rpartition("/")[2], "ref": name, "targetCommit": commit}


def entry(name: str, path: Path) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": path.stat().st_size, "oid": etag(path)}


def entries(files: Mapping[str, Path], below: str, deep: bool) -> Iterator[dict[str, Any]]:
    """The files of a folder, and unless `deep` the folders in it in place of what they hold."""
    folders = set()
    for name, path in files.items():
        rest = name.removeprefix(below)
        if not name.startswith(below) or not rest:
            continue
        if deep or "/" not in rest:
            yield entry(name, path)
        elif (folder := below + rest.partition("/")[0]) not in folders:
            folders.add(folder)
            yield {"type": "directory", "path": folder, "oid": "0" * 40}


def use_hub(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the client at `url`, here and in engines: it reads the environment once, so its constants are set too."""
    from huggingface_hub import constants

    engine = {"HF_ENDPOINT": url, "HF_HUB_CACHE": str(tmp_path / "hub-cache"), "HF_HUB_OFFLINE": "0"}
    for name, value in (engine | {"HF_TOKEN_PATH": str(tmp_path / "no-token")}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)  # bytes; the model is small
    if (library := sys.modules.get("datasets")) is not None:
        monkeypatch.setattr(library.config, "HF_ENDPOINT", url)


def sibling(name: str, path: Path, blobs: bool) -> dict[str, Any]:
    """A file in what the hub says of a repository; with its checksum if asked for."""
    if not blobs:
        return {"rfilename": name}
    about = {"rfilename": name, "size": path.stat().st_size, "blobId": etag(path)}
    large = path.suffix in (".safetensors", ".bin")
    lfs = {"sha256": etag(path), "size": about["size"], "pointerSize": 134}
    return about | ({"lfs": lfs} if large else {})


def etag(path: Path) -> str:
    """The checksum of a file, which a hub knows and does not count each time."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
