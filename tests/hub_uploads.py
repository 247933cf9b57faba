"""The half of a Hugging Face hub that takes uploads, on this machine, for the real client: LFS, commits, branches."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tests.quiet_server import QuietServer

LARGE = (".safetensors", ".gguf", ".bin")
"""Endings of files that the hub keeps in LFS whatever their size."""
REGULAR_AT_MOST = 10_000_000
EMPTY = "0" * 40


@dataclass
class Repo:
    """A repository: its branches as files by path, and its commits, newest last."""

    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: list[tuple[str, str, str]] = field(default_factory=list)
    """Id, branch and message of each."""
    gitignore: tuple[str, ...] = ()
    """Paths that its .gitignore leaves out."""

    def head(self, branch: str) -> str:
        return next((oid for oid, where, _ in reversed(self.commits) if where == branch), EMPTY)


@dataclass
class UploadHub:
    """Repositories, the storage of large files, the tokens that may write, the faults to simulate, what was asked."""

    token: str = "hf_notARealOne0123456789"
    owners: tuple[str, ...] = ("anna",)
    """Owners under whose names the token may write."""
    repos: dict[str, Repo] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files by their sha256."""
    fails: list[tuple[str, int]] = field(default_factory=list)
    """Part of a path, and the status that the next request for it gets; each once."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes of a large file the connection is closed, upload by upload."""
    hold: threading.Event | None = None
    """After half of a large file nothing more is read until this is set."""
    halfway: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str]] = field(default_factory=list)
    received: dict[str, int] = field(default_factory=dict)
    """Bytes that came of each large file, by sha256, over all tries."""
    reading: set[int] = field(default_factory=set)
    """Threads that read the body of a large file now."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def asked(self, part: str, method: str = "POST") -> list[str]:
        return [path for verb, path in self.requests if verb == method and part in path]

    def files(self, repo: str, branch: str = "main") -> dict[str, bytes]:
        return self.repos[repo].branches[branch]


class RefusedError(Exception):
    """An answer of another status than 200."""

    def __init__(self, status: int, code: str = "", message: str = "", body: Any = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.body = status, code, message, body


@contextmanager
def uploads(hub: UploadHub) -> Iterator[UploadHub]:
    """Serve `hub` on a free port of this machine."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = QuietServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        if hub.hold is not None:
            hub.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: UploadHub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(("PUT", path))
        if self.failed(path):
            return
        oid, size = path.rpartition("/")[2], int(self.headers["Content-Length"])
        data = self.take(oid, size)
        if len(data) < size:
            self.close_connection = True
            return
        if hashlib.sha256(data).hexdigest() != oid:
            self.reply(400, {"error": "the content has another sha256"})
            return
        self.hub.stored[oid] = data
        self.reply(200, {})

    def take(self, oid: str, size: int) -> bytes:
        """A body as far as it comes, or is let in; half of it until `hold` is set."""
        self.hub.reading.add(threading.get_ident())
        try:
            return self.taken(oid, size)
        finally:
            self.hub.reading.discard(threading.get_ident())

    def taken(self, oid: str, size: int) -> bytes:
        hub, data = self.hub, b""
        most = hub.cuts.pop(0) if hub.cuts else size
        while len(data) < most:
            part = self.rfile.read(min(16384, most - len(data)))
            if not part:
                break
            data += part
            hub.received[oid] = hub.received.get(oid, 0) + len(part)
            if hub.hold is not None and len(data) >= size // 2 and not hub.halfway.is_set():
                hub.halfway.set()
                hub.hold.wait(60)
        return data

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append((self.command, path))
        if self.failed(path):
            return
        try:
            with self.hub.lock:
                found = self.route(path, body)
        except RefusedError as refused:
            self.reply(refused.status, refused.body or {"error": refused.message}, refused.code)
        else:
            self.reply(200, found)

    def failed(self, path: str) -> bool:
        for fault in self.hub.fails:
            if fault[0] in path:
                self.hub.fails.remove(fault)
                if self.command == "PUT":
                    self.rfile.read(int(self.headers["Content-Length"]))
                self.reply(fault[1], {"error": "simulated"})
                return True
        return False

    def route(self, path: str, body: bytes) -> Any:
        if path == "/api/validate-yaml":
            return validated(json.loads(body)["content"])
        known = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if not known and not path.startswith("/lfs/"):
            raise RefusedError(401, message="Invalid username or password.")
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            self.writable(path.removesuffix(".git/info/lfs/objects/batch").strip("/"))
            return self.batch(json.loads(body))
        if path == "/lfs/verify":
            asked = json.loads(body)
            if len(self.hub.stored.get(asked["oid"], b"")) != asked["size"]:
                raise RefusedError(400, message="the object is not there")
            return {}
        if path.startswith("/api/models/"):
            owner, name, *rest = path.removeprefix("/api/models/").split("/", 4)
            return self.of_repo(f"{owner}/{name}", rest, body)
        raise RefusedError(404, message=f"nothing is at {path}")

    def create(self, asked: dict[str, Any]) -> Any:
        hub, repo = self.hub, f"{asked['organization']}/{asked['name']}"
        if asked["organization"] not in hub.owners:
            raise RefusedError(
                403, message="You don't have the rights to create a model under this namespace"
            )
        about = {"url": f"{hub.url}/{repo}", "id": repo, "name": repo}
        if repo in hub.repos:
            raise RefusedError(409, body=about | {"error": "You already created this model repo"})
        private = asked.get("visibility") == "private" or asked.get("private") is True
        hub.repos[repo] = Repo(private)
        return about

    def of_repo(self, name: str, rest: list[str], body: bytes) -> Any:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and name.partition("/")[0] not in self.hub.owners):
            raise RefusedError(404, "RepoNotFound", "Repository not found")
        match rest:
            case []:
                return self.info(name, repo, "main")
            case ["revision", revision]:
                return self.info(name, repo, revision)
            case ["tree", revision, *_]:
                files = repo.branches[self.branch(repo, revision)]
                return [
                    {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
                    for path, data in sorted(files.items())
                ]
            case ["preupload", branch]:
                self.writable(name)
                return self.preupload(repo, self.branch(repo, branch), json.loads(body))
            case ["branch", branch]:
                self.writable(name)
                if branch in repo.branches:
                    raise RefusedError(409, message="Reference already exists")
                repo.branches[branch] = dict(repo.branches["main"])
                return {}
            case ["commit", branch]:
                self.writable(name)
                return self.commit(name, repo, self.branch(repo, branch), body)
        raise RefusedError(404, message=f"{name} has nothing at {'/'.join(rest)}")

    def writable(self, repo: str) -> None:
        if repo.partition("/")[0] not in self.hub.owners:
            raise RefusedError(403, message="Authorization error.")

    def branch(self, repo: Repo, revision: str) -> str:
        if revision in repo.branches:
            return revision
        found = next((branch for oid, branch, _ in repo.commits if oid == revision), None)
        if found is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def info(self, name: str, repo: Repo, revision: str) -> Any:
        branch = self.branch(repo, revision)
        siblings = [{"rfilename": path} for path in repo.branches[branch]]
        return {"id": name, "sha": repo.head(branch), "private": repo.private, "siblings": siblings}

    def preupload(self, repo: Repo, branch: str, asked: dict[str, Any]) -> Any:
        def mode(file: dict[str, Any]) -> dict[str, Any]:
            large = file["path"].endswith(LARGE) or file["size"] > REGULAR_AT_MOST
            there = repo.branches[branch].get(file["path"])
            oid = None if there is None else hashlib.sha256(there).hexdigest() if large else git_oid(there)
            ignored = file["path"] in repo.gitignore
            kind = "lfs" if large else "regular"
            return {"path": file["path"], "uploadMode": kind, "shouldIgnore": ignored, "oid": oid}

        return {"files": [mode(file) for file in asked["files"]]}

    def batch(self, asked: dict[str, Any]) -> Any:
        def action(one: dict[str, Any]) -> dict[str, Any]:
            if one["oid"] in self.hub.stored:
                return one
            upload, verify = f"{self.hub.url}/lfs/{one['oid']}", f"{self.hub.url}/lfs/verify"
            return one | {"actions": {"upload": {"href": upload}, "verify": {"href": verify}}}

        return {"transfer": "basic", "objects": [action(one) for one in asked["objects"]]}

    def commit(self, name: str, repo: Repo, branch: str, body: bytes) -> Any:
        lines = [json.loads(line) for line in body.splitlines()]
        files = dict(repo.branches[branch])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.stored:
                    raise RefusedError(400, message=f"LFS pointer of {value['path']} points to nothing")
                files[value["path"]] = self.hub.stored[value["oid"]]
        repo.branches[branch] = files
        oid = hashlib.sha1(body + str(len(repo.commits)).encode()).hexdigest()
        repo.commits.append((oid, branch, lines[0]["value"]["summary"]))
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"}

    def reply(self, status: int, value: Any, code: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if code:
            self.send_header("X-Error-Code", code)
        if isinstance(value, dict) and "error" in value:
            self.send_header("X-Error-Message", str(value["error"]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def validated(content: str) -> Any:
    """The hub's verdict on the head of a README: errors where it is no YAML, or a value is none that it knows."""
    head = content.split("---\n", 2)
    try:
        data = yaml.safe_load(head[1]) if content.startswith("---\n") else {}
    except yaml.YAMLError as error:
        raise RefusedError(400, body={"errors": [{"message": str(error)}], "warnings": []}) from error
    licence = data.get("license", "")
    if licence and not licence.replace("-", "").replace(".", "").replace("+", "").isalnum():
        message = '"license" must be one of the known ones'
        raise RefusedError(400, body={"errors": [{"message": message}], "warnings": []})
    return {"errors": [], "warnings": []}


def git_oid(data: bytes) -> str:
    """The id that git gives a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
