"""A real HTTP server with OpenAI's routes whose verdicts a test chooses."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.quiet_server import QuietServer


@dataclass
class JudgeServer:
    """`answer(user's message)` is the judge's text; `status` other than 200 fails every request.

    `failures` are the statuses of the next requests for a verdict, in their order: 0 closes the connection unanswered.
    """

    answer: Callable[[str], str]
    status: int = 200
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    address: str = ""


@contextmanager
def judging(answer: Callable[[str], str], status: int = 200) -> Iterator[JudgeServer]:
    """Serve until the block ends."""
    state = JudgeServer(answer, status)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send({"object": "list", "data": [{"id": "tiny-judge", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(body)
            state.keys.append(self.headers.get("Authorization"))
            failure = state.failures.pop(0) if state.failures else 200
            if failure == 0:
                self.close_connection = True
                return
            if failure != 200:
                self._send({"error": {"message": "planted"}}, failure)
                return
            text = state.answer(body["messages"][-1]["content"])
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._send({"object": "chat.completion", "choices": [choice]})

        def _send(self, body: dict[str, Any], status: int | None = None) -> None:
            data = json.dumps(body).encode()
            self.send_response(status or state.status)
            if status == 429:
                self.send_header("Retry-After", "7")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            return

    server = QuietServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
