"""Answers as OpenAI's API has them: whole, and as the chunks of a stream."""

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.serving.asking import Plan
from engine.serving.request import Chosen, End
from engine.serving.served import Served

DONE = "data: [DONE]\n\n"


def event(body: Any) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"


def usage(plan: Plan, ends: Iterable[End]) -> dict[str, int]:
    """Tokens of the prompts and of the answers."""
    written = sum(end.tokens for end in ends)
    return {
        "prompt_tokens": plan.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": plan.prompt_tokens + written,
    }


@dataclass
class Told:
    """What there is of one answer."""

    text: str = ""
    chosen: list[Chosen] = field(default_factory=list)
    reasoning: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()
    end: End | None = None

    @property
    def finish(self) -> str | None:
        """Reason of its end; None where it goes on."""
        if self.end is None:
            return None
        return "tool_calls" if self.calls and self.end.finish == "stop" else self.end.finish


class Form(Protocol):
    """The form of one endpoint's answers."""

    def whole(self, told: Sequence[Told]) -> dict[str, Any]:
        """All answers of a request."""
        ...

    def opening(self, index: int) -> dict[str, Any] | None:
        """The chunk with which an answer begins."""
        ...

    def chunk(self, index: int, piece: Told) -> dict[str, Any]:
        """A chunk with what is new of an answer."""
        ...

    def last(self, ends: Sequence[End]) -> dict[str, Any]:
        """The chunk with the usage alone."""
        ...


class _Body:
    """Common to both forms."""

    prefix, whole_object, chunk_object = "", "", ""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def body(self, kind: str, choices: Sequence[Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.plan.model.name,
            "choices": list(choices),
        }

    def streamed(self, choice: dict[str, Any]) -> dict[str, Any]:
        body = self.body(self.chunk_object, [choice])
        return body | ({"usage": None} if self.plan.usage_in_stream else {})

    def last(self, ends: Sequence[End]) -> dict[str, Any]:
        return self.body(self.chunk_object, []) | {"usage": usage(self.plan, ends)}


class ChatForm(_Body):
    """Answers of /v1/chat/completions."""

    prefix, whole_object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def whole(self, told: Sequence[Told]) -> dict[str, Any]:
        choices = []
        for index, one in enumerate(told):
            message: dict[str, Any] = {
                "role": "assistant",
                "content": one.text or (None if one.calls else ""),
            }
            if one.reasoning:
                message["reasoning_content"] = one.reasoning
            if one.calls:
                message["tool_calls"] = _calls(one.calls)
            choices.append(self._choice(index, one, {"message": message}))
        ends = [one.end for one in told if one.end]
        return self.body(self.whole_object, choices) | {"usage": usage(self.plan, ends)}

    def opening(self, index: int) -> dict[str, Any] | None:
        return self.streamed(self._choice(index, Told(), {"delta": {"role": "assistant", "content": ""}}))

    def chunk(self, index: int, piece: Told) -> dict[str, Any]:
        delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
        if piece.reasoning:
            delta["reasoning_content"] = piece.reasoning
        if piece.calls:
            delta["tool_calls"] = [{"index": at} | call for at, call in enumerate(_calls(piece.calls))]
        return self.streamed(self._choice(index, piece, {"delta": delta}))

    def _choice(self, index: int, told: Told, said: dict[str, Any]) -> dict[str, Any]:
        logprobs = None
        if self.plan.logprobs and told.chosen:
            logprobs = {
                "content": [_chat_logprob(one, self.plan.model) for one in told.chosen],
                "refusal": None,
            }
        return {"index": index, **said, "logprobs": logprobs, "finish_reason": told.finish}


class CompletionForm(_Body):
    """Answers of /v1/completions."""

    prefix, whole_object, chunk_object = "cmpl", "text_completion", "text_completion"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._places = [0] * len(plan.answers)
        """Characters told so far of each answer."""

    def whole(self, told: Sequence[Told]) -> dict[str, Any]:
        choices = [self._choice(index, one) for index, one in enumerate(told)]
        ends = [one.end for one in told if one.end]
        return self.body(self.whole_object, choices) | {"usage": usage(self.plan, ends)}

    def opening(self, index: int) -> dict[str, Any] | None:
        return None

    def chunk(self, index: int, piece: Told) -> dict[str, Any]:
        return self.streamed(self._choice(index, piece))

    def _choice(self, index: int, told: Told) -> dict[str, Any]:
        logprobs = self._logprobs(index, told.chosen) if self.plan.logprobs else None
        return {"index": index, "text": told.text, "logprobs": logprobs, "finish_reason": told.finish}

    def _logprobs(self, index: int, chosen: Sequence[Chosen]) -> dict[str, Any]:
        model, offsets = self.plan.model, []
        texts = [_text(model, one.token) for one in chosen]
        for text in texts:
            offsets.append(self._places[index])
            self._places[index] += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [one.logprob for one in chosen],
            "top_logprobs": [
                {_text(model, token): logprob for token, logprob in one.likeliest} for one in chosen
            ],
            "text_offset": offsets,
        }


def _calls(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Calls with ids, their arguments as JSON."""
    found = []
    for call in calls:
        name, given = call["function"]["name"], call["function"]["arguments"]
        arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        function = {"name": name, "arguments": arguments}
        found.append({"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function})
    return found


def _chat_logprob(chosen: Chosen, model: Served) -> dict[str, Any]:
    top = [_token(model, token, logprob) for token, logprob in chosen.likeliest]
    return _token(model, chosen.token, chosen.logprob) | {"top_logprobs": top}


def _token(model: Served, token: int, logprob: float) -> dict[str, Any]:
    text = _text(model, token)
    return {"token": text, "logprob": logprob, "bytes": [*text.encode()]}


def _text(model: Served, token: int) -> str:
    return model.tokenizer.decode([token], skip_special=False)
