"""The services that tokens are for, on this machine: they answer as the real APIs do, to the right token alone."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.quiet_server import QuietServer

Answer = tuple[int, object]
"""Status, and what is sent as JSON, or as it is where it is bytes; of a redirect, the address that it leads to."""


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def basic(self) -> tuple[str, str] | None:
        """User and password of basic authentication."""
        kind, _, value = self.headers.get("authorization", "").partition(" ")
        user, _, password = (
            base64.b64decode(value).decode().partition(":") if kind == "Basic" else ("", "", "")
        )
        return (user, password) if kind == "Basic" else None

    @property
    def bearer(self) -> str:
        """The token of `Authorization: Bearer`."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


Behaviour = Callable[[Asked], Answer]


@dataclass
class Served:
    """A server's address, and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def served(behave: Behaviour) -> Iterator[Served]:
    """A server that answers as `behave` says."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, self.rfile.read(length))
            found.asked.append(asked)
            status, body = behave(asked)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", data.decode())
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Served(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def hub(token: str) -> Behaviour:
    """The hub's `/api/whoami-v2`."""

    def behave(asked: Asked) -> Answer:
        assert (asked.method, asked.path) == ("GET", "/api/whoami-v2")
        if asked.bearer != token:
            return 401, {"error": "Invalid username or password."}
        return 200, {"type": "user", "name": "ada", "auth": {"accessToken": {"role": "read"}}}

    return behave


def wandb(key: str) -> Behaviour:
    """W&B's GraphQL: the key is the password of the user `api`; without a right one, 401."""

    def behave(asked: Asked) -> Answer:
        assert (asked.method, asked.path) == ("POST", "/graphql")
        assert "viewer" in json.loads(asked.body)["query"]
        if asked.basic != ("api", key):
            return 401, {"errors": [{"message": f"invalid key {asked.basic}"}]}
        return 200, {"data": {"viewer": {"username": "ada", "entity": "lovelace"}}}

    return behave


def mlflow(token: str, user: str, password: str) -> Behaviour:
    """MLflow's REST API behind a proxy that takes a token, or with its own basic authentication."""

    def behave(asked: Asked) -> Answer:
        assert asked.path.startswith("/api/2.0/mlflow/experiments/search?max_results=1")
        if asked.basic == (user, password) or asked.bearer == token:
            return 200, {"experiments": [{"experiment_id": "0", "name": "Default"}]}
        return 401, b"You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth"

    return behave


def langfuse(public: str, secret: str) -> Behaviour:
    """Langfuse's `/api/public/projects`."""

    def behave(asked: Asked) -> Answer:
        assert asked.path == "/api/public/projects"
        if asked.basic != (public, secret):
            return 401, {"message": "Invalid credentials. Confirm that you've configured the correct host."}
        return 200, {"data": [{"id": "p1", "name": "mails", "metadata": {}}]}

    return behave


def slow(seconds: float) -> Behaviour:
    """A server that takes its time."""

    def behave(_: Asked) -> Answer:
        time.sleep(seconds)
        return 200, {}

    return behave
