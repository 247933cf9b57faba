"""The HTTP side: routes as OpenAI's API has them, whole answers and streams."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.data.tokenization.thought_blocks import block_at_end
from engine.inference import answer
from engine.inference.answer_parts import AnswerParts
from engine.inference.reasoning import Reasoning
from engine.serving import asking, refusals, schema
from engine.serving.asking import Plan
from engine.serving.batch import Batch, CutError, QueueFull, Ticket
from engine.serving.guard import Door
from engine.serving.refusals import Refused
from engine.serving.replies import DONE, ChatForm, CompletionForm, Form, Told, event
from engine.serving.request import Asked, End, Piece
from engine.serving.routing import application, body_of, unless_gone
from engine.serving.served import Catalogue

PROMPT_END = 64
"""Tokens at the end of a prompt among which a block of reasoning may be opened."""
Item = tuple[int, Piece | End | Exception]
"""Place of an answer among those of its request, and what is new of it."""


@dataclass
class Service:
    """What the routes know: the models and the batch once they are there."""

    most_prompt: int = 1 << 17
    """Tokens of the longest prompt."""
    catalogue: Catalogue | None = None
    batch: Batch | None = None
    stopping: bool = False
    reading: CapacityLimiter | None = None
    """One prompt is rendered at a time: templates and tokenizers are not made for threads."""
    post: "Post | None" = None
    """From the thread that generates; made in the event loop."""


class Post:
    """Carries what the thread that generates tells to the event loop, which it wakes once for all that is new."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._new: deque[tuple[asyncio.Queue[Item], Item]] = deque()
        self._woken = False

    def send(self, queue: "asyncio.Queue[Item]", item: Item) -> None:
        """Put an item into a queue of the loop. Called from any thread."""
        self._new.append((queue, item))
        if not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False  # before the queue is looked at: what comes after wakes the loop again
        while self._new:
            queue, item = self._new.popleft()
            queue.put_nowait(item)


class Channel:
    """Carries one answer from the thread that generates to the request that waits for it."""

    def __init__(self, index: int, queue: "asyncio.Queue[Item]", post: Post, streamed: bool) -> None:
        self._index, self._queue, self._post, self._streamed = index, queue, post, streamed
        self._kept: list[Piece] = []

    def piece(self, piece: Piece) -> None:
        if self._streamed:
            self._send(piece)
        else:
            self._kept.append(piece)  # nobody waits for less than the whole

    def end(self, end: End) -> None:
        for piece in self._kept:
            self._send(piece)
        self._send(end)

    def failed(self, error: Exception) -> None:
        self._send(error)

    def _send(self, item: Piece | End | Exception) -> None:
        self._post.send(self._queue, (self._index, item))


@dataclass
class Writing:
    """The answers to one request while they are written."""

    plan: Plan
    tickets: list[Ticket] = field(default_factory=list)
    queue: "asyncio.Queue[Item]" = field(default_factory=asyncio.Queue)

    @classmethod
    def begun(cls, plan: Plan, batch: Batch, post: Post) -> "Writing":
        """Put a request into the batch. Raises Refused where it is full, or stops."""
        writing = cls(plan)
        for index, asked in enumerate(plan.answers):
            channel = Channel(index, writing.queue, post, plan.stream)
            writing.tickets.append(_ticket(asked, channel, plan))
        try:
            batch.submit(writing.tickets)
        except QueueFull:
            raise refusals.busy() from None
        except CutError as cut:
            raise refusals.not_ready(cut.message) from None
        return writing

    def cancel(self) -> None:
        """Free the slots; for answers that nobody waits for any more."""
        for ticket in self.tickets:
            ticket.cancelled = True

    async def whole(self) -> list[Told]:
        """All answers. Raises what one of them failed with."""
        told = [Told() for _ in self.tickets]
        async for index, part in self.parts():
            one = told[index]
            one.text += part.text
            one.reasoning += part.reasoning
            one.chosen += part.chosen
            one.calls, one.end = part.calls, part.end
        return told

    async def parts(self) -> AsyncIterator[tuple[int, Told]]:
        """What is new of each answer, as it comes; the last of each has its end. Raises what one failed with."""
        parts = [_parts_of(self.plan, asked) for asked in self.plan.answers]
        left = len(parts)
        while left:
            index, item = await self.queue.get()
            match item:
                case Piece(text, chosen):
                    piece = parts[index].take(text)
                    if piece.text or piece.reasoning or (self.plan.logprobs and chosen):
                        yield index, Told(piece.text, [*chosen], reasoning=piece.reasoning)
                case End():
                    left -= 1
                    piece = parts[index].end("", item.finish == "length", None, None)
                    yield index, Told(piece.text, reasoning=piece.reasoning, calls=piece.calls, end=item)
                case _:
                    raise item


class Parts(Protocol):
    """Divides the text of an answer."""

    def take(self, text: str) -> answer.Piece:
        """What is certain, now that the answer has gone on with `text`."""
        ...

    def end(self, rest: str, cut: bool, prompt_tokens: int | None, tokens: int | None) -> answer.Piece:
        """The last piece."""
        ...


class PlainParts:
    """An answer that calls no tools: its text, with reasoning apart where it is an answer to a conversation."""

    def __init__(self, reasoning: Reasoning | None) -> None:
        self._reasoning = reasoning

    def take(self, text: str) -> answer.Piece:
        return answer.Piece(text) if self._reasoning is None else self._reasoning.take(text)

    def end(self, rest: str, cut: bool, prompt_tokens: int | None, tokens: int | None) -> answer.Piece:
        return answer.Piece() if self._reasoning is None else self._reasoning.rest()


def _parts_of(plan: Plan, asked: Asked) -> Parts:
    if not plan.chat:
        return PlainParts(None)
    end = plan.model.tokenizer.decode(asked.prompt[-PROMPT_END:], skip_special=False)
    block = block_at_end(end)
    return AnswerParts(block, plan.tools) if plan.tools else PlainParts(Reasoning(block))


def _ticket(asked: Asked, channel: Channel, plan: Plan) -> Ticket:
    model, grammar = plan.model, asked.grammar
    constraint = partial(model.grammars.matcher, grammar) if grammar is not None else None
    tokenizer = model.tokenizer
    return Ticket(asked, channel, tokenizer.written if plan.chat else tokenizer.decode, constraint)


class Routes:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""

        def plan(body: bytes, catalogue: Catalogue) -> Plan:
            asked = schema.parsed(schema.ChatRequest, schema.read_json(body))
            return asking.chat(asked, catalogue.named(asked.model), self.service.most_prompt)

        return await self._answered(request, plan, ChatForm)

    async def completions(self, request: Request) -> Response:
        """Continue texts."""

        def plan(body: bytes, catalogue: Catalogue) -> Plan:
            asked = schema.parsed(schema.CompletionRequest, schema.read_json(body))
            return asking.completion(asked, catalogue.named(asked.model), self.service.most_prompt)

        return await self._answered(request, plan, CompletionForm)

    async def embeddings(self, request: Request) -> Response:
        """Refuse: a model that was trained to answer has no embeddings that were trained to be compared."""
        raise Refused(
            404,
            "This engine has no embeddings: its models are trained to answer.",
            None,
            "unsupported_endpoint",
        )

    async def models(self, request: Request) -> Response:
        """List the models, or show one of them."""
        catalogue = self._ready()
        if (name := request.path_params.get("name")) is not None:
            return JSONResponse(catalogue.described(catalogue.named(name)))
        return JSONResponse({"object": "list", "data": catalogue.listed})

    async def health(self, request: Request) -> Response:
        """Tell that the process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Tell if requests are answered now, and how busy it is."""
        self._ready()
        assert self.service.batch is not None
        load = self.service.batch.load
        return JSONResponse({"status": "ready", "running": load.rows, "waiting": load.waiting})

    def _ready(self) -> Catalogue:
        service = self.service
        if service.stopping:
            raise refusals.not_ready("The server is stopping.")
        if service.catalogue is None or service.batch is None:
            raise refusals.not_ready("The model is being loaded.")
        return service.catalogue

    async def _answered(
        self, request: Request, plan: Callable[[bytes, Catalogue], Plan], form: Callable[[Plan], Form]
    ) -> Response:
        catalogue, service = self._ready(), self.service
        body = await body_of(request)
        service.reading = service.reading or CapacityLimiter(1)
        planned = await to_thread.run_sync(plan, body, catalogue, limiter=service.reading)
        assert service.batch is not None
        service.post = service.post or Post()
        writing = Writing.begun(planned, service.batch, service.post)
        if planned.stream:
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return StreamingResponse(
                _streamed(writing, form(planned)), media_type="text/event-stream", headers=headers
            )
        try:
            told = await unless_gone(request, writing.whole)
        finally:
            writing.cancel()
        return JSONResponse(form(planned).whole(told))


async def _streamed(writing: Writing, form: Form) -> AsyncIterator[str]:
    """The chunks of a stream; one that fails ends with an error, and without the mark of a clean end."""
    ends: list[End] = []
    try:
        for index in range(len(writing.tickets)):
            if (opening := form.opening(index)) is not None:
                yield event(opening)
        async for index, part in writing.parts():
            if part.end is None:
                yield event(form.chunk(index, part))
                continue
            ends.append(part.end)
            if part.text or part.reasoning:
                yield event(form.chunk(index, Told(part.text, reasoning=part.reasoning)))
            yield event(form.chunk(index, Told(calls=part.calls, end=part.end)))
        if writing.plan.usage_in_stream:
            yield event(form.last(ends))
        yield DONE
    except Exception as error:  # the model of a stranger can go wrong in any way
        yield event(refusals.failed(error).body)
    finally:
        writing.cancel()


def make_app(service: Service, door: Door) -> Starlette:
    """The application."""
    routes = Routes(service)

    return application(
        [
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/v1/completions", routes.completions, methods=["POST"]),
            Route("/v1/embeddings", routes.embeddings, methods=["POST"]),
            Route("/v1/models", routes.models),
            Route("/v1/models/{name:path}", routes.models),
            Route("/health", routes.health),
            Route("/ready", routes.ready),
        ],
        door,
    )
