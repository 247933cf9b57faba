"""The HTTP server in a thread of its own, on a socket that is bound before anything is loaded."""

import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp

from engine.errors import ConfigError, MachineError

CONNECTIONS = 512
"""Most connections; more are answered with 503."""
START_S = 10.0
STOP_S = 5
"""Seconds that connections get to take what is written when the server stops."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises ConfigError for a host that is none of this machine's, MachineError where the port is taken.
    """
    try:
        (family, *_, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--host {host}: there is no such address.", "For this machine alone: 127.0.0.1"
        ) from error
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(CONNECTIONS)
    except OSError as error:
        made.close()
        raise MachineError(
            f"Port {port} of {host} cannot be used: {error.strerror or error}.",
            "Another program may have it. Name another: --port 8001",
        ) from error
    return made


def url_of(bound: socket.socket) -> str:
    """Address that clients on this machine use."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


class HttpThread:
    """A running server."""

    def __init__(self, app: ASGIApp, bound: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http="h11",
            ws="none",
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=STOP_S,
        )
        self._server, self._bound = uvicorn.Server(config), bound
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Answer requests from now on. Raises MachineError where it does not start."""
        self._thread.start()
        until = time.monotonic() + START_S
        while not self._server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                raise MachineError("The HTTP server does not start.", "Its log is in the run's folder.")
            time.sleep(0.01)

    def stop(self) -> None:
        """Take no more requests; returns once those that are there are written, or cut."""
        self._server.should_exit = True
        self._thread.join(STOP_S + 5)
        self._bound.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._bound])
