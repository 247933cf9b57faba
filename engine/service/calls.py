"""Typed calls of operations over a transport. Several threads may ask at the same time.

One thread reads the answers and hands each to the thread that asked.
"""

import contextlib
import itertools
import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

from engine.codec import decode
from engine.service import protocol
from engine.service.operation import Operation, Stream
from engine.service.protocol import Message
from engine.service.transport import Closed, Transport, Unreadable

Q = TypeVar("Q")
A = TypeVar("A")
POLL_S = 0.05
"""Time between two checks of `cancelled` by a thread that waits for an answer."""
Inbox = queue.SimpleQueue[Message | None]
"""Answers to one question; None is the end of the connection."""


class Cancelled(Exception):  # noqa: N818 - a wish, not an error
    """The `cancelled` event of the asker was set before the answer was complete."""


class Calls:
    """The asking end of a connection to the service."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._numbers = itertools.count(1)
        self._inboxes: dict[int, Inbox] = {}
        self._ended = False
        self._changing = threading.Lock()
        """Held while inboxes come and go, so that none is missed when the connection ends."""
        self._reader = threading.Thread(target=self._read, name="service answers", daemon=True)
        self._reader.start()

    def call(self, operation: Operation[Q, A], request: Q, cancelled: threading.Event | None = None) -> A:
        """The answer to a request.

        Raises the FtError that the service answers with, Cancelled once `cancelled` is set, and TrainingError or
        OutOfMemoryError where the service has ended.
        """
        with contextlib.closing(self._ask(operation, request, cancelled)) as values:
            (value,) = values
        return value

    def stream(
        self, operation: Stream[Q, A], request: Q, cancelled: threading.Event | None = None
    ) -> Generator[A, None, None]:
        """The answers to a request as they come. Closing the iterator cancels it. Raises as `call` does."""
        return self._ask(operation, request, cancelled)

    def post(self, operation: Operation[Q, A], request: Q) -> None:
        """Send a request without waiting for its answer. Raises as `call` does where the service has ended."""
        self._send(protocol.asked(next(self._numbers), operation.name, request))

    def close(self) -> None:
        """Close the connection."""
        self.transport.close()
        self._reader.join(timeout=5)

    def _ask(
        self, operation: Operation[Q, A] | Stream[Q, A], request: Q, cancelled: threading.Event | None
    ) -> Generator[A, None, None]:
        number, inbox = self._enter()
        finished = False
        try:
            self._send(protocol.asked(number, operation.name, request))
            for message in self._messages(inbox, cancelled):
                if message is None:
                    finished = True
                    raise self.transport.why_closed()
                finished = "done" in message or "error" in message
                if error := protocol.error_of(message):
                    raise error
                if finished:
                    return
                yield decode(operation.answer, message["value"])
        finally:
            with self._changing:
                del self._inboxes[number]
            if not finished:
                with contextlib.suppress(Closed):
                    self.transport.send(protocol.cancelled(next(self._numbers), number))

    def _enter(self) -> tuple[int, Inbox]:
        """A number for a question, and the inbox of its answers."""
        number, inbox = next(self._numbers), Inbox()
        with self._changing:
            self._inboxes[number] = inbox
            if self._ended:
                inbox.put(None)
        return number, inbox

    @staticmethod
    def _messages(inbox: Inbox, cancelled: threading.Event | None) -> Iterator[Message | None]:
        while True:
            if cancelled is None:
                yield inbox.get()
                continue
            if cancelled.is_set():
                raise Cancelled
            with contextlib.suppress(queue.Empty):
                yield inbox.get(timeout=POLL_S)

    def _read(self) -> None:
        """Hand the answers to their askers; the rest of a cancelled one is dropped."""
        for message in self.transport.receive():
            assert not isinstance(message, Unreadable), message.reason
            with self._changing:
                inbox = self._inboxes.get(message.get("id") or 0)
            if inbox is not None:
                inbox.put(message)
        with self._changing:
            self._ended = True
            for inbox in self._inboxes.values():
                inbox.put(None)

    def _send(self, message: Message) -> None:
        try:
            self.transport.send(message)
        except Closed:
            raise self.transport.why_closed() from None
