"""The service process: it answers the operations of `engine/service/operations` and ends at end of file.

    python -P -m engine.service.server [--secrets]

Messages (`engine/service/protocol.py`) come on stdin and go to stdout, one JSON object a line. With --secrets the
first line is an object of tokens by name. Operations of different lanes are answered side by side: a plan does not
wait for a long answer to end.
"""

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from engine import secrets
from engine.clean_logs import redact_output
from engine.codec import CodecError, decode, encode
from engine.errors import FREE, ConfigError, FtError, OutOfMemoryError
from engine.hardware.memory import is_exhaustion
from engine.process.worker import settle_libraries
from engine.service.operation import Context, Lane, Operation, Shared, Stream
from engine.service.operations import OPERATIONS
from engine.service.protocol import VERSION, Message, failed
from engine.service.transport import Closed, JsonLines, Transport, Unreadable
from engine.storage.disk_errors import explained

MAIN: Lane = "model"
"""Lane that is answered in the thread that calls `serve`: models are loaded and run there."""
Lanes = dict[Lane, "queue.SimpleQueue[Asked | None]"]


def main() -> None:
    """Answer until stdin ends."""
    settle_libraries()
    if "--secrets" in sys.argv[1:]:
        secrets.adopt(secrets.receive(sys.stdin.buffer))
    # What libraries print must not come between the answers: stdout is stderr for all but this module.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace", buffering=1)
    os.dup2(2, 1)
    redact_output()
    # In the middle of an answer too: nobody is left to receive the rest of it.
    Service(JsonLines(sys.stdin, answers), at_end=lambda: os._exit(0)).serve()


@dataclass(frozen=True)
class Asked:
    """A request that waits in its lane."""

    number: Any
    operation: Operation[Any, Any] | Stream[Any, Any]
    request: Any


def _nothing() -> None:
    """Leave the end of the requests to `serve`, which returns."""


class Service:
    """Reads requests in one thread and answers them in others, one for each lane."""

    def __init__(self, transport: Transport, at_end: Callable[[], None] = _nothing) -> None:
        """`at_end` is called in the reading thread as soon as no more requests can come."""
        self._transport = transport
        self._at_end = at_end
        self._lanes: Lanes = {lane: queue.SimpleQueue() for lane in get_args(Lane) if lane != "arrival"}
        self._cancelled: set[object] = set()
        self._ended = threading.Event()
        self._shared = Shared()

    def serve(self) -> None:
        """Answer the requests of the transport until it closes."""
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        for lane in self._lanes.keys() - {MAIN}:
            threading.Thread(target=self._work, args=(lane,), name=lane, daemon=True).start()
        self._work(MAIN)
        self._shared.close()
        self._transport.close()

    def _read(self) -> None:
        for message in self._transport.receive():
            number = None if isinstance(message, Unreadable) else message.get("id")
            try:
                self._take(number, message)
            except FtError as error:
                self._send(failed(number, error))
        self._ended.set()
        self._at_end()
        for lane in self._lanes.values():
            lane.put(None)

    def _take(self, number: Any, message: Message | Unreadable) -> None:
        """Put a request into its lane. Raises ConfigError for one that cannot be read."""
        if isinstance(message, Unreadable):
            raise ConfigError(f"Invalid request: {message.reason}")
        if message.get("v") != VERSION:
            raise ConfigError(
                f"Invalid request: version {message.get('v')} of the protocol; this service has version {VERSION}.",
                "Restart the program that asked; ft was updated while it ran.",
            )
        if "cancel" in message:
            self._cancelled.add(message["cancel"])
            return
        operation = OPERATIONS.get(str(message.get("op")))
        if operation is None:
            raise ConfigError(
                f"Invalid request: unknown operation {message.get('op')!r}.",
                f"Known operations: {', '.join(OPERATIONS)}.",
            )
        try:
            asked = Asked(number, operation, decode(operation.request, message.get("request")))
        except CodecError as error:
            raise ConfigError(f"Invalid request for {operation.name}: {error}") from error
        if operation.lane == "arrival":
            self._answer(asked)
        else:
            self._lanes[operation.lane].put(asked)

    def _work(self, lane: Lane) -> None:
        while (asked := self._lanes[lane].get()) is not None:
            self._answer(asked)

    def _answer(self, asked: Asked) -> None:
        number = asked.number

        def stopped() -> bool:
            return number in self._cancelled or self._ended.is_set()

        try:
            context = Context(self._shared, stopped)
            for value in () if stopped() else asked.operation.answers(context, asked.request):
                if stopped():
                    break
                self._send({"id": number, "value": encode(value)})
            self._send({"id": number, "done": True, "cancelled": stopped()})
        except Exception as error:
            self._send(failed(number, _explained(error)))
        finally:
            self._cancelled.discard(number)

    def _send(self, message: Message) -> None:
        try:
            self._transport.send(message)
        except Closed:
            self._ended.set()  # whoever asked is gone


def _explained(error: Exception) -> FtError:
    """The error for a person, also where nobody has put it into words."""
    if isinstance(error, FtError):
        found = error
    else:
        traceback.print_exc()
        if isinstance(error, OSError) and error.strerror:
            found = explained(error)
        else:
            found = FtError(f"{type(error).__name__}: {error}".removesuffix(": "))
    if is_exhaustion(error):  # also where it was taken for a file that does not load
        return OutOfMemoryError(f"There is not enough memory for this: {found}", FREE)
    return found


if __name__ == "__main__":
    main()
