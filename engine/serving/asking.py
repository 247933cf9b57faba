"""Requests as OpenAI's API has them, turned into answers to be generated."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.data.formats.base import RowError
from engine.data.formats.messages import messages_of
from engine.data.formats.tool_calls import tools_of
from engine.data.tokenization.token_limits import answer_room
from engine.data.tokenization.tokenizer import LAST_ID
from engine.data.types import Message, Sampling
from engine.errors import ConfigError, FtError, ModelError
from engine.serving.grammar import ANY_OBJECT
from engine.serving.refusals import Refused, unsupported, wrong
from engine.serving.request import Asked
from engine.serving.schema import MOST_STOPS, ChatRequest, Common, CompletionRequest, ResponseFormat
from engine.serving.served import Served

CHAT_TOKENS = 4096
"""Longest answer of a chat where the request names none; less where the model has less room."""
COMPLETION_TOKENS = 16
"""The same for /v1/completions, as in OpenAI's API."""
MOST_ANSWERS = 64
"""Of one request, for all its prompts together."""
SEEDS = 2**63


@dataclass(frozen=True)
class Plan:
    """A request that is understood: the answers that it asks for, and how they are told."""

    model: Served
    answers: tuple[Asked, ...]
    chat: bool = False
    """True for answers to conversations, which may begin with reasoning and end with calls."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Functions that may be called."""
    stream: bool = False
    usage_in_stream: bool = False
    logprobs: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts, each counted once."""
        return sum(len(prompt) for prompt in {asked.prompt for asked in self.answers})


def chat(request: ChatRequest, model: Served, most_prompt: int) -> Plan:
    """The answers to a conversation. Raises Refused."""
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise wrong("max_tokens", "`max_tokens` and `max_completion_tokens` cannot be given together.")
    if request.top_logprobs is not None and not request.logprobs:
        raise wrong("top_logprobs", "`top_logprobs` needs `logprobs: true`.")
    tools = () if request.tool_choice == "none" else _tools(request)
    if tools and request.response_format and request.response_format.type != "text":
        raise unsupported("response_format", "Together with `tools`, it would forbid their calls.")
    prompt = _rendered(request, model, tools)
    most = request.max_completion_tokens or request.max_tokens or CHAT_TOKENS
    top = (request.top_logprobs or 0) if request.logprobs else None
    grammar = _grammar(request.response_format, model)
    answers = _answers(request, model, [prompt], most, most_prompt, top, grammar)
    return replace(_planned(request, model, answers, bool(request.logprobs)), chat=True, tools=tools)


def completion(request: CompletionRequest, model: Served, most_prompt: int) -> Plan:
    """The answers to plain prompts. Raises Refused."""
    prompts = _prompts(request, model)
    most = request.max_tokens or COMPLETION_TOKENS
    answers = _answers(request, model, prompts, most, most_prompt, request.logprobs, None)
    return _planned(request, model, answers, request.logprobs is not None)


def _planned(request: Common, model: Served, answers: Sequence[Asked], logprobs: bool) -> Plan:
    stream, options = bool(request.stream), request.stream_options
    if options is not None and not stream:
        raise wrong("stream_options", "`stream_options` needs `stream: true`.")
    usage = options is not None and options.include_usage
    return Plan(model, tuple(answers), stream=stream, usage_in_stream=usage, logprobs=logprobs)


def _tools(request: ChatRequest) -> tuple[Mapping[str, Any], ...]:
    try:
        return tools_of({"tools": request.tools})
    except RowError as error:
        raise wrong("tools", f"{error}.") from None


def _rendered(request: ChatRequest, model: Served, tools: Sequence[Mapping[str, Any]]) -> list[int]:
    """Tokens of a conversation under the model's template. Raises Refused."""
    try:
        messages: Sequence[Message] = messages_of(list(request.messages), "messages")
        if tools and not model.tokenizer.template(tools).shows_tools:
            raise unsupported("tools", f"The chat template of {model.name} shows no tools.")
        return model.tokenizer.prompt_ids(messages, tools)
    except RowError as error:
        raise wrong("messages", f"{error}.") from None
    except (ModelError, ConfigError) as error:
        raise wrong("messages", error.message) from None


def _prompts(request: CompletionRequest, model: Served) -> list[list[int]]:
    """Tokens of each prompt. Raises Refused."""
    given = request.prompt
    if isinstance(given, str):
        given = [given]
    if not given or not all(one != [] for one in given):
        raise wrong("prompt", "`prompt` is empty.")
    if isinstance(given[0], str):
        texts = [str(one) for one in given]
        if any(not _is_text(text) for text in texts):
            raise wrong("prompt", "`prompt` has half of a surrogate pair.")
        end = len(model.tokenizer.suffix_ids)
        found = [ids[: len(ids) - end] for ids in model.tokenizer.encode(texts)]
    elif isinstance(given[0], int):
        found = [[*given]]
    else:
        found = [[*one] for one in given]
    if any(not 0 <= token < LAST_ID for ids in found for token in ids):
        raise wrong("prompt", "`prompt` has a number that is not the id of a token.")
    # A model continues something: where the tokenizer puts nothing in front, an empty text is the text's end.
    return [ids or [model.tokenizer.eos_id] for ids in found]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _grammar(wanted: ResponseFormat | None, model: Served) -> str | None:
    """The grammar that an answer is held to. Raises Refused."""
    if wanted is None or wanted.type == "text":
        return None
    schema = ANY_OBJECT
    if wanted.type == "json_schema":
        if wanted.json_schema is None:
            raise wrong("response_format.json_schema", "`response_format.json_schema` is missing.")
        schema = wanted.json_schema.schema_ or ANY_OBJECT
    try:
        return model.grammars.of_schema(schema)
    except ValueError as error:
        raise wrong("response_format.json_schema", f"The schema cannot be followed: {error}") from None


def _answers(
    request: Common,
    model: Served,
    prompts: Sequence[Sequence[int]],
    most: int,
    most_prompt: int,
    top: int | None,
    grammar: str | None,
) -> list[Asked]:
    """The n answers to each prompt, each with a seed of its own: the request's, and those that follow it."""
    count = request.n or 1
    if len(prompts) * count > MOST_ANSWERS:
        raise wrong("prompt", f"One request may ask for {MOST_ANSWERS} answers at most.")
    seed = secrets.randbelow(SEEDS) if request.seed is None else request.seed % SEEDS
    sampling = _sampling(request)
    bias = _bias(request, model)
    found: list[Asked] = []
    for prompt in prompts:
        room = _room(prompt, model, most_prompt)
        for _ in range(count):
            own = replace(
                sampling,
                max_tokens=most if room is None else min(most, room),
                seed=(seed + len(found)) % SEEDS,
            )
            found.append(
                Asked(
                    tuple(prompt),
                    own,
                    model.adapter,
                    model.tokenizer.stop_ids,
                    top,
                    bias,
                    request.presence_penalty or 0.0,
                    request.frequency_penalty or 0.0,
                    grammar,
                )
            )
    return found


def _room(prompt: Sequence[int], model: Served, most_prompt: int) -> int | None:
    """Most tokens of an answer to this prompt. Raises Refused where there are none."""
    if len(prompt) > most_prompt:
        raise Refused(
            400,
            f"The prompt has {len(prompt)} tokens; this server takes {most_prompt}.",
            "messages",
            "context_length_exceeded",
        )
    try:
        return answer_room(prompt, model.tokenizer, model.room, "the prompt")
    except ConfigError as error:
        raise Refused(400, error.message, "messages", "context_length_exceeded") from None
    except FtError as error:
        raise wrong("messages", error.message) from None


def _sampling(request: Common) -> Sampling:
    """Settings of the sampler. Temperature is 1 where the request names none, as in OpenAI's API."""
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if len(stops) > MOST_STOPS:
        raise wrong("stop", f"`stop` has {len(stops)} texts; {MOST_STOPS} are the most.")
    own = Sampling()
    return Sampling(
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=own.top_p if request.top_p is None else request.top_p,
        top_k=own.top_k if request.top_k is None else request.top_k,
        min_p=own.min_p if request.min_p is None else request.min_p,
        repetition_penalty=own.repetition_penalty
        if request.repetition_penalty is None
        else request.repetition_penalty,
        stop=tuple(stop for stop in stops if stop),
    )


def _bias(request: Common, model: Served) -> dict[int, float]:
    """What is added to the logits of tokens. Raises Refused."""
    size = model.room.ids or model.tokenizer.vocab_size
    found = {}
    for name, value in (request.logit_bias or {}).items():
        if not (name.isascii() and name.isdecimal() and len(name) < 10 and int(name) < size):
            raise wrong("logit_bias", f"`logit_bias`: {name[:40]!r} is not the id of a token.")
        if not -100 <= value <= 100:
            raise wrong("logit_bias", f"`logit_bias`: {value} is not between -100 and 100.")
        found[int(name)] = value
    return found
