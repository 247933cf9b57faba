"""Answers of an OpenAI-compatible server, streamed as server-sent events."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.data.formats.base import RowError
from engine.data.formats.tool_calls import calls_of
from engine.data.jsonl import written
from engine.data.tokenization.message_style import Tools
from engine.data.types import Message, Sampling
from engine.errors import ConfigError, MachineError
from engine.inference.answer import Finish, Piece
from engine.inference.answer_parts import AnswerParts

if TYPE_CHECKING:
    import httpx

CONNECT_S, ANSWER_S = 10.0, 600.0
"""Seconds to wait for a connection, and for the next words of an answer."""
FINISHES: Mapping[str, Finish] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
DEFAULT = Sampling()


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server. `url` ends with the version, as http://localhost:8000/v1."""

    url: str
    key: str | None = field(default=None, repr=False)

    @classmethod
    def at(cls, url: str, key: str | None = None) -> "Server":
        """The server at an address, with or without its version. Raises ConfigError for what is not one."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"{url} is not the address of a server.", "As in --url http://localhost:8000/v1"
            )
        if parts.username or parts.password:
            raise ConfigError(
                "The address has a user or a password in it, which others on this machine can see.",
                "Keep the key with `ft secrets set NAME`, and give --key NAME.",
            )
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        return cls(f"{parts.scheme}://{parts.netloc}{path or '/v1'}", key)

    def models(self) -> list[str]:
        """Names of the models that it serves. Raises MachineError, and ConfigError where it refuses the question."""
        with self._connected() as client:
            answer = client.get(f"{self.url}/models")
            self._refused(answer)
            body = _object(answer.text)
        data = body.get("data")
        return [str(one["id"]) for one in data or () if isinstance(one, dict) and "id" in one]

    def only_model(self) -> str:
        """The one model that it serves. Raises as `models` does, and ConfigError where it serves none, or several."""
        names = self.models()
        if len(names) != 1:
            listed = ", ".join(names) or "none"
            raise ConfigError(f"{self.url} serves {listed}.", "Say which answers: --model NAME")
        return names[0]

    def pieces(
        self, model: str, messages: Sequence[Message], sampling: Sampling, tools: Tools = ()
    ) -> Generator[Piece, None, None]:
        """The answer in pieces as they come; closing the iterator closes the connection.

        Settings of sampling that OpenAI's API does not have are sent where they are not the default. Raises ConfigError
        for what the server refuses, MachineError where it fails, cannot be reached, or does not finish its answer.
        """
        body = asked(model, messages, sampling, tools)
        url = f"{self.url}/chat/completions"
        with self._connected() as client, client.stream("POST", url, json=body) as answer:
            if answer.status_code != 200:
                answer.read()
                self._refused(answer)
            yield from _pieces(self.url, events(answer.iter_lines()), tools)

    @contextmanager
    def _connected(self) -> Iterator["httpx.Client"]:
        import httpx

        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        try:
            with httpx.Client(headers=headers, timeout=timeout) as client:
                yield client
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.UnsupportedProtocol,
            httpx.InvalidURL,
        ) as error:
            raise MachineError(
                f"{self.url} cannot be reached: {error}", "Look if the server runs, and at the address."
            ) from error
        except httpx.TransportError as error:
            raise cut_off(self.url, type(error).__name__) from error

    def _refused(self, answer: "httpx.Response") -> None:
        """Raise what a status means that is not success."""
        status = answer.status_code
        if status == 200:
            return
        said = f"{self.url} answers {status}: {_reason(answer.text)}"
        if status in (401, 403):
            hint = "The key is not the one that it wants." if self.key else "It wants a key."
            raise ConfigError(said, f"{hint} Set one with `ft secrets set NAME`, and give --key NAME.")
        if 400 <= status < 500 and status not in (408, 429):
            raise ConfigError(said, "The server does not take this question; see what it says.")
        raise MachineError(said, "Try again later, or look into the server's log.")


def asked(model: str, messages: Sequence[Message], sampling: Sampling, tools: Tools) -> dict[str, Any]:
    """Body of the request."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [_turn(message) for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "seed": sampling.seed,
    }
    for name in ("top_p", "top_k", "min_p", "repetition_penalty"):
        if getattr(sampling, name) != getattr(DEFAULT, name):
            body[name] = getattr(sampling, name)
    body |= {"stop": list(sampling.stop)} if sampling.stop else {}
    return body | ({"tools": [dict(tool) for tool in tools]} if tools else {})


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects of server-sent events, up to `[DONE]` (https://html.spec.whatwg.org/#server-sent-events)."""
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            text, data = "\n".join(data), []
            if text.strip() == "[DONE]":
                return
            yield _object(text)


def cut_off(url: str, why: str) -> MachineError:
    """The error for an answer that ends without the reason for its end."""
    return MachineError(
        f"The answer of {url} was cut off before its end ({why}).",
        "What came is shown; ask again, and look into the server's log.",
    )


def _pieces(url: str, stream: Iterator[dict[str, Any]], tools: Tools) -> Iterator[Piece]:
    parts, calls = AnswerParts(tools=tools), Calls()
    finish: str | None = None
    usage: Mapping[str, Any] = {}
    for event in stream:
        if "error" in event:
            raise MachineError(f"{url} failed: {_reason(json.dumps(event))}", "Look into the server's log.")
        usage = event.get("usage") or usage
        for choice in (event.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            finish = choice.get("finish_reason") or finish
            calls.take(delta.get("tool_calls") or ())
            piece = parts.take(delta.get("content") or "")
            thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
            yield replace(piece, reasoning=thought + piece.reasoning)
    if finish is None:
        yield replace(parts.end("", True, None, None), end=None)
        raise cut_off(url, "no finish_reason")
    last = parts.end("", finish == "length", usage.get("prompt_tokens"), usage.get("completion_tokens"))
    assert last.end is not None
    found = calls.whole(url)
    reason = FINISHES.get(finish, last.end.finish)
    if found or last.calls:
        reason = "tool_calls" if reason == "stop" else reason
    yield replace(last, calls=found or last.calls, end=replace(last.end, finish=reason))


class Calls:
    """Calls of tools, put together from the parts in which they come."""

    def __init__(self) -> None:
        self._made: dict[int, dict[str, Any]] = {}

    def take(self, parts: Sequence[Any]) -> None:
        """Add parts, each with the number of its call."""
        for part in parts:
            call = self._made.setdefault(int(part.get("index") or 0), {"name": "", "arguments": ""})
            call["id"] = part.get("id") or call.get("id")
            function = part.get("function") or {}
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""

    def whole(self, url: str) -> tuple[Mapping[str, Any], ...]:
        """The calls, their arguments as objects. Raises MachineError where they are not JSON."""
        made = [self._made[number] for number in sorted(self._made)]
        try:
            return tuple(calls_of(made, "tool_calls"))
        except RowError as error:
            raise MachineError(f"{url} sends a call of a tool that cannot be read: {error}") from error


def _turn(message: Message) -> dict[str, Any]:
    """A message as the API takes it: the arguments of calls as text, and no reasoning of earlier turns."""
    turn = {
        key: value for key, value in written(message).items() if key not in ("weight", "reasoning_content")
    }
    if message.has("tool_calls"):
        turn["tool_calls"] = [
            {
                "id": call.get("id") or f"call_{number}",
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
                },
            }
            for number, call in enumerate(turn["tool_calls"])
        ]
    if message.role == "tool":
        turn.setdefault("tool_call_id", "call_0")
    return turn


def _object(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise MachineError(
            f"The server sends what is not JSON: {text[:200]!r}", "Look if it is an OpenAI-compatible server."
        )
    return body


def _reason(text: str) -> str:
    """The message in an error's body, of any of its shapes; else the body."""
    try:
        error = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()[:500] or "nothing more"
    while isinstance(error, dict):
        inner = next((error[key] for key in ("error", "message", "detail") if error.get(key)), None)
        if inner is None:
            break
        error = inner
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)[:500]
