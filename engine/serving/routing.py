"""What the routes of every server of ours have in common: the door, how errors are told, how bodies come."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.errors import FtError
from engine.serving import refusals
from engine.serving.guard import Door, Guard
from engine.serving.refusals import Refused

BODY_S = 30.0
"""Seconds within which a body has to come."""
Found = TypeVar("Found")


def application(routes: Sequence[Route], door: Door) -> Starlette:
    """The application behind a door; what its routes raise is told as OpenAI's API words it."""

    async def refused(request: Request, error: Exception) -> Response:
        found = error if isinstance(error, Refused) else refusals.failed(error)
        return JSONResponse(found.body, found.status, found.headers)

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = {404: f"There is no {request.url.path[:200]} here.", 405: f"Not by {request.method[:10]}."}
        found = Refused(error.status_code, words.get(error.status_code, error.detail), None, "unknown_url")
        return JSONResponse(found.body, found.status, error.headers)

    async def left(request: Request, error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    return Starlette(
        routes=[*routes],
        middleware=[Middleware(Guard, door=door)],
        exception_handlers={
            Refused: refused,
            FtError: refused,
            HTTPException: unknown,
            ClientDisconnect: left,
            Exception: refused,
        },
    )


async def body_of(request: Request) -> bytes:
    """The body. Raises Refused where it takes too long."""
    try:
        return await asyncio.wait_for(request.body(), BODY_S)
    except TimeoutError:
        raise Refused(408, f"The body has not come within {BODY_S:.0f} s.", None, "body_timeout") from None


async def unless_gone(request: Request, work: Callable[[], Awaitable[Found]]) -> Found:
    """The result of `work`. Raises ClientDisconnect where whoever asked is gone before."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.ensure_future(work()), asyncio.ensure_future(gone())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            return tasks[0].result()
        raise ClientDisconnect
    finally:
        for task in tasks:
            task.cancel()
