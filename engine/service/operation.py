"""Operations: the questions that the service answers, each a typed function with a name and a lane.

    @operation("plan", lane="plan")
    def plan(context: Context, request: PlanRequest) -> Plan: ...

The request is a frozen dataclass, the answer any type that `engine.codec` knows; both are read off the function.
`@streaming` is the same for a function that returns an iterator of answers.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast, get_args, get_type_hints

Q = TypeVar("Q")
A = TypeVar("A")
T = TypeVar("T")
Lane = Literal["arrival", "model", "plan", "rows", "lengths", "find"]
"""Operations of one lane are answered one after the other, those of different lanes side by side. Those of `arrival`
are answered before the next message is read."""


class Shared:
    """State that operations of one service share between requests: one value for each function that makes one."""

    def __init__(self) -> None:
        self._made: dict[Callable[[], Any], Any] = {}
        self._making: dict[Callable[[], Any], threading.Lock] = {}
        self._changing = threading.Lock()

    def of(self, make: Callable[[], T]) -> T:
        """The value of `make`, called when it is asked for the first time."""
        with self._changing:
            making = self._making.setdefault(make, threading.Lock())
        with making:
            if make not in self._made:
                self._made[make] = make()
            return cast(T, self._made[make])

    def close(self) -> None:
        """Call the `close` of the values that have one; nothing may use those any more."""
        for value in self._made.values():
            if close := getattr(value, "close", None):
                close()


@dataclass(frozen=True)
class Context:
    """Surroundings of one request."""

    shared: Shared
    stopped: Callable[[], bool]
    """Returns True once the asker has cancelled."""


@dataclass(frozen=True)
class Operation(Generic[Q, A]):
    """A question with one answer."""

    name: str
    lane: Lane
    run: Callable[[Context, Q], A]

    @property
    def request(self) -> type[Q]:
        """The type of the request."""
        return cast("type[Q]", _request_of(self.run))

    @property
    def answer(self) -> type[A]:
        """The type of the answer."""
        return cast("type[A]", get_type_hints(self.run)["return"])

    def answers(self, context: Context, request: Q) -> Iterator[A]:
        """The answer, as the only one of its stream."""
        yield self.run(context, request)


@dataclass(frozen=True)
class Stream(Generic[Q, A]):
    """A question with any number of answers, each sent as soon as it is there."""

    name: str
    lane: Lane
    run: Callable[[Context, Q], Iterator[A]]

    @property
    def request(self) -> type[Q]:
        """The type of the request."""
        return cast("type[Q]", _request_of(self.run))

    @property
    def answer(self) -> type[A]:
        """The type of each answer."""
        (item,) = get_args(get_type_hints(self.run)["return"])
        return cast("type[A]", item)

    def answers(self, context: Context, request: Q) -> Iterator[A]:
        """The answers as they come."""
        return self.run(context, request)


def operation(name: str, lane: Lane) -> Callable[[Callable[[Context, Q], A]], Operation[Q, A]]:
    """Make an operation of a function with one answer."""
    return lambda run: Operation(name, lane, run)


def streaming(name: str, lane: Lane) -> Callable[[Callable[[Context, Q], Iterator[A]]], Stream[Q, A]]:
    """Make an operation of a function with many answers."""
    return lambda run: Stream(name, lane, run)


def _request_of(run: Callable[..., Any]) -> Any:
    return get_type_hints(run)["request"]
