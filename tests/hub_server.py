"""A small Hugging Face hub on this machine for the real client: listings, ranges, cut connections."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """One repository, what shall go wrong with it, and what was asked for."""

    repo: str
    folder: Path
    kind: str = "models"
    """Or `datasets`."""
    gated: bool = False
    cuts: list[int] = field(default_factory=list)
    """After how many bytes of a safetensors file the connection is closed, request by request."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range header of each request."""
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

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            root = f"/{hub.repo}" if hub.kind == "models" else f"/{hub.kind}/{hub.repo}"
            hub.requests.append((self.command, path, self.headers.get("Range", "")))
            files = {item.relative_to(hub.folder).as_posix(): item for item in hub.folder.rglob("*")}
            files = {name: item for name, item in files.items() if item.is_file()}
            about = f"/api/{hub.kind}/{hub.repo}"
            if path in (about, *(f"{about}/revision/{name}" for name in ("main", COMMIT))):
                siblings = [{"rfilename": name, "size": item.stat().st_size} for name, item in files.items()]
                self.reply_json({"id": hub.repo, "sha": COMMIT, "siblings": siblings, "private": False})
            elif path == f"{about}/tree/{COMMIT}":
                self.reply_json(
                    [
                        {"type": "file", "path": name, "size": item.stat().st_size, "oid": etag(item)}
                        for name, item in files.items()
                    ]
                )
            elif path.startswith(f"{about}/revision/"):
                self.refuse(404, "RevisionNotFound")
            elif path.startswith(f"{root}/resolve/{COMMIT}/"):
                name = path.removeprefix(f"{root}/resolve/{COMMIT}/")
                if hub.gated:
                    self.refuse(403, "GatedRepo")
                elif name in files:
                    self.reply_file(files[name])
                else:
                    self.refuse(404, "EntryNotFound")
            else:
                self.refuse(401, "RepoNotFound")

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

        def reply_file(self, path: Path) -> None:
            data = path.read_bytes()
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("ETag", f'"{etag(path)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            if hub.cuts and path.suffix == ".safetensors":
                self.wfile.write(data[start : start + hub.cuts.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(data[start:])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def use_hub(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the client at `url`: it reads the environment when it is imported, so its constants are set."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)  # bytes; the model is small


def etag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
