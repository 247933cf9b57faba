"""A local HTTP server that streams what a test says in the form of OpenAI's API, and keeps what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.quiet_server import QuietServer

Write = Callable[[bytes], None]


@dataclass
class Served:
    """What the server answers: `status` and `body`, or the lines of a stream; `models` are listed."""

    url: str = ""
    lines: list[str] = field(default_factory=list)
    status: int = 200
    body: str = ""
    drops: bool = False
    """Close the connection in the middle of the stream, as a server that is killed."""
    models: list[str] = field(default_factory=lambda: ["tuned"])
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def says(
        self, *deltas: dict[str, Any], finish: str | None = "stop", usage: dict[str, int] | None = None
    ) -> None:
        """Stream these deltas as chunks."""
        chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}] if finish else []
        chunks += [{"choices": [], "usage": usage}] if usage else []
        self.lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self.lines += ["data: [DONE]\n\n"] if finish else []


@contextmanager
def serving() -> Iterator[Served]:
    """A server on a free port of this machine."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(200, json.dumps({"data": [{"id": name} for name in served.models]}))

        def do_POST(self) -> None:
            served.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if served.status != 200:
                self.reply(served.status, served.body)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in served.lines:
                self.wfile.write(f"{len(line.encode()):x}\r\n{line}\r\n".encode())
            if served.drops:
                self.close_connection = True
                return
            self.wfile.write(b"0\r\n\r\n")

        def reply(self, status: int, body: str) -> None:
            served.keys.append(self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *line: Any) -> None:
            """Say nothing on stderr."""

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
