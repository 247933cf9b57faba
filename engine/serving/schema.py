"""Bodies of requests, as OpenAI's API has them. A key that is not here is refused by name, never ignored."""

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.serving.refusals import Refused, unsupported, wrong

MOST_CHOICES = 16
"""Most answers to one request."""
MOST_STOPS = 16
MOST_TOP = 20
"""Most likeliest tokens that are told at a place."""


class Strict(BaseModel):
    """Values of the JSON types that they are declared with, and no other keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamOptions(Strict):
    """Options of a stream."""

    include_usage: bool = False


class JsonSchema(Strict):
    """A schema with its name."""

    name: str = Field(default="answer", max_length=64)
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Strict):
    """Format that an answer is held to."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Common(Strict):
    """Keys of both kinds of requests. Those without an effect on the answer say so."""

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = Field(default=None, max_length=4096)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = Field(default=None, max_length=1024)
    top_k: int | None = Field(default=None, ge=0)
    """Not in OpenAI's API; nor are the next two."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    user: str | None = None
    """A label of the caller's, without an effect on the answer; so is `metadata`."""
    metadata: dict[str, str] | None = None


class ChatRequest(Common):
    """Body of /v1/chat/completions."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None


class CompletionRequest(Common):
    """Body of /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP)
    echo: Literal[False] | None = None


Request = TypeVar("Request", bound=Common)


def read_json(body: bytes) -> dict[str, Any]:
    """The object of a body. Raises Refused where there is none."""

    def no_number(text: str) -> Any:
        raise ValueError(f"{text} is not a number of JSON")

    try:
        found = json.loads(body, parse_constant=no_number)
    except RecursionError:
        raise wrong(None, "The body is nested too deeply.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise wrong(None, f"The body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise wrong(None, "The body is not a JSON object.")
    return found


def parsed(kind: type[Request], body: Mapping[str, Any]) -> Request:
    """The request of a body. Raises Refused with the name of the first parameter that is wrong."""
    for name in sorted(body.keys() - kind.model_fields.keys()):
        if body[name] is not None:
            raise unsupported(name)
    given = {name: value for name, value in body.items() if value is not None}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _refused(error) from None
    except RecursionError:
        raise wrong(None, "The body is nested too deeply.") from None


def _refused(error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = [part for part in first["loc"] if not (isinstance(part, str) and ("[" in part or part in PLAIN))]
    name = ".".join(map(str, place)) or None
    if first["type"] == "extra_forbidden" and name:
        return unsupported(name)
    if first["type"] == "missing":
        return Refused(400, f"`{name}` is missing.", name, "missing_required_parameter")
    return wrong(name, f"`{name}`: {first['msg']}.")


PLAIN = frozenset({"str", "int", "float", "bool"})
"""Names that pydantic gives the branches of a union."""
