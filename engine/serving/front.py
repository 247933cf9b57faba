"""The front of another engine's server: our door, the names of the models, and how many ask at once.

Other servers answer a request for a model that is not there by the one that they have, let pages of any origin ask, or
check no key. So they listen where nobody is told of, and what is asked of us is passed on to them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from engine.serving import refusals, schema
from engine.serving.guard import Door
from engine.serving.refusals import Refused
from engine.serving.routing import application, body_of, unless_gone

CONNECT_S = 10.0
"""Seconds within which the server behind has to take a connection; how long it then writes is its own affair."""
Body = Mapping[str, Any]


def as_it_is(path: str, body: Body) -> Body:
    """A request that the server behind judges itself."""
    return body


@dataclass(frozen=True)
class Behind:
    """The server behind the front."""

    url: str
    key: str
    """Its own API key, which nobody but the front knows."""
    models: tuple[str, ...]
    """The names that it answers to."""
    accepted: Callable[[str, Body], Body] = as_it_is
    """What is passed on of a request to a path. Raises Refused."""


@dataclass(frozen=True)
class FrontLoad:
    """Requests that are answered and that wait; and those that were answered whole."""

    running: int
    waiting: int
    answers: int


class Front:
    """Passes requests on to the server behind, `slots` at a time, while `queue` of them may wait."""

    def __init__(self, behind: Behind, slots: int, queue: int) -> None:
        self.behind, self.queue = behind, queue
        self.ready = self.stopping = False
        self._slots = asyncio.Semaphore(slots)
        self._reading = CapacityLimiter(1)  # templates and tokenizers are not made for threads
        self._running = self._waiting = self._answers = 0
        self._created = int(time.time())
        self._client = httpx.AsyncClient(
            base_url=behind.url,
            headers={"Authorization": f"Bearer {behind.key}"},
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=slots),
            trust_env=False,
        )

    @property
    def load(self) -> FrontLoad:
        """The load now. Asked from any thread."""
        return FrontLoad(self._running, self._waiting, self._answers)

    def app(self, door: Door) -> Starlette:
        """The application behind a door."""
        return application(
            [
                Route("/v1/models", self.models),
                Route("/v1/models/{name:path}", self.models),
                Route("/v1/{path:path}", self.passed, methods=["POST"]),
                Route("/health", self.health),
                Route("/ready", self.is_ready),
            ],
            door,
        )

    async def models(self, request: Request) -> Response:
        """List the models, or show one of them."""
        self._check_ready()
        if (name := request.path_params.get("name")) is not None:
            return JSONResponse(self._described(self._named(name)))
        data = [self._described(name) for name in self.behind.models]
        return JSONResponse({"object": "list", "data": data})

    async def health(self, request: Request) -> Response:
        """Tell that the process answers."""
        return JSONResponse({"status": "ok"})

    async def is_ready(self, request: Request) -> Response:
        """Tell if requests are answered now, and how busy it is."""
        self._check_ready()
        return JSONResponse({"status": "ready", "running": self._running, "waiting": self._waiting})

    async def passed(self, request: Request) -> Response:
        """Have a request answered by the server behind."""
        self._check_ready()
        body: Body = schema.read_json(await body_of(request))
        name = body.get("model")
        if not isinstance(name, str):
            raise Refused(400, "`model` is missing.", "model", "missing_required_parameter")
        self._named(name)
        path = request.url.path
        body = await to_thread.run_sync(self.behind.accepted, path, body, limiter=self._reading)
        asked = self._client.build_request("POST", path, json=body)
        answer = await unless_gone(request, lambda: self._ask(asked))
        return _Passed(answer, lambda: self._leave(answer))

    async def _ask(self, asked: httpx.Request) -> httpx.Response:
        """The beginning of an answer, which has a slot from now on. Raises Refused."""
        if self._slots.locked() and self._waiting >= self.queue:
            raise refusals.busy()
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            answer = await self._client.send(asked, stream=True)
            if answer.is_error:
                await answer.aread()
                raise _refused(answer)
        except httpx.TransportError as error:
            self._free()
            raise Refused(502, f"The engine does not answer: {type(error).__name__}.") from error
        except BaseException:
            self._free()
            raise
        return answer

    async def _leave(self, answer: httpx.Response) -> None:
        """Give an answer's slot back; one that nobody reads to its end is cut."""
        self._answers += answer.is_stream_consumed
        self._free()
        await answer.aclose()

    def _free(self) -> None:
        self._running -= 1
        self._slots.release()

    def _check_ready(self) -> None:
        if self.stopping:
            raise refusals.not_ready("The server is stopping.")
        if not self.ready:
            raise refusals.not_ready("The model is being loaded.")

    def _named(self, name: str) -> str:
        if name not in self.behind.models:
            raise refusals.no_model(name, self.behind.models)
        return name

    def _described(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "ft"}


class _Passed(StreamingResponse):
    """An answer as it comes from behind; `leave` is awaited however it ends, also before its first byte."""

    def __init__(self, answer: httpx.Response, leave: Callable[[], Awaitable[None]]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        media = answer.headers.get("content-type")
        super().__init__(_bytes_of(answer), answer.status_code, headers, media)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._leave()


async def _bytes_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    async for part in answer.aiter_bytes():
        yield part


def _refused(answer: httpx.Response) -> Refused:
    """An error from behind, as OpenAI's API words it, with what was said of it."""
    try:
        said = answer.json().get("error")
    except (ValueError, AttributeError):
        said = None
    told = said if isinstance(said, dict) else {"message": said}
    message = told.get("message") or HTTPStatus(answer.status_code).phrase
    param, code = _text(told.get("param")), _text(told.get("code"))
    return Refused(answer.status_code, str(message), param, code, _retry(answer.headers.items()))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _retry(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() in ("retry-after", "x-should-retry")}
