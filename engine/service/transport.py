"""Carriers of the service's messages: JSON lines over a pair of streams, and queues within one process."""

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

from engine.errors import FtError, TrainingError
from engine.service.protocol import Message


class Closed(Exception):  # noqa: N818 - an end, which is expected
    """Nobody listens at the other end any more."""


@dataclass(frozen=True)
class Unreadable:
    """Something that arrived and is not a JSON object."""

    reason: str


class Transport(Protocol):
    """One end of a connection. Several threads may send; one receives."""

    def send(self, message: Message) -> None:
        """Send a message. Raises Closed."""

    def receive(self) -> Iterator[Message | Unreadable]:
        """The messages of the other end as they arrive, until it closes."""

    def close(self) -> None:
        """Let the other end know that nothing more is coming, and wait until it has ended."""

    def why_closed(self) -> FtError:
        """The error of an answer that will not come because the connection has closed."""


class JsonLines:
    """A message a line, UTF-8."""

    def __init__(self, incoming: IO[str], outgoing: IO[str]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._writing = threading.Lock()

    def send(self, message: Message) -> None:
        line = json.dumps(message) + "\n"
        try:
            with self._writing:
                self._outgoing.write(line)
                self._outgoing.flush()
        except (BrokenPipeError, ValueError) as error:  # ValueError: closed at this end
            raise Closed from error

    def receive(self) -> Iterator[Message | Unreadable]:
        return map(_read, self._incoming)

    def close(self) -> None:
        try:
            self._outgoing.close()
        except BrokenPipeError:
            return  # the other end is gone already

    def why_closed(self) -> FtError:
        return TrainingError("The connection to the service has closed.")


class Queues:
    """One end of a connection within a process. Messages pass as JSON text, as they would through a pipe."""

    def __init__(
        self, incoming: "queue.SimpleQueue[str | None]", outgoing: "queue.SimpleQueue[str | None]"
    ) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = threading.Event()

    def send(self, message: Message) -> None:
        if self._closed.is_set():
            raise Closed
        self._outgoing.put(json.dumps(message))

    def receive(self) -> Iterator[Message | Unreadable]:
        while (line := self._incoming.get()) is not None:
            yield _read(line)

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._outgoing.put(None)

    def why_closed(self) -> FtError:
        return TrainingError("The service has ended.")


def connected() -> tuple[Queues, Queues]:
    """The two ends of a connection within this process."""
    one, other = queue.SimpleQueue[str | None](), queue.SimpleQueue[str | None]()
    return Queues(one, other), Queues(other, one)


def _read(line: str) -> Message | Unreadable:
    try:
        message: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable(str(error))
    return message if isinstance(message, dict) else Unreadable("not an object")
