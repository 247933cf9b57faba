"""The server as OpenAI's own client sees it."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from engine.data.types import Message, Prompt, Sampling
from engine.inference.generation import Generator
from tests.serving import Server, make_adapter, serving

SAID = [{"role": "user", "content": "Say fox."}]


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[Server]:
    with serving(tiny_model) as running:
        yield running


def asked(text: str = "Say fox.", **more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": text}]
    return {"model": "tiny", "messages": said, "temperature": 0, "max_tokens": 12} | more


def offline(model: Path, adapter: Path | None, text: str, tokens: int, temperature: float, seed: int) -> str:
    """The answer of `ft generate`."""
    chat = Generator.open(model, adapter)
    sampling = Sampling(tokens, temperature, seed)
    return "".join(piece.text for piece in chat.stream(Prompt((Message("user", text),), seed), sampling))


def test_answers_are_those_of_ft_generate(server: Server, tiny_model: Path) -> None:
    for temperature, seed in ((0.0, 0), (1.3, 7), (1.3, 8)):
        expected = offline(tiny_model, None, "Say fox.", 12, temperature, seed)
        body = asked(temperature=temperature, seed=seed)
        whole = server.client.chat.completions.create(**body)
        assert whole.choices[0].message.content == expected
        pieces = server.client.chat.completions.create(**body, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == expected


def test_usage_and_finish_reason_are_told(server: Server) -> None:
    whole = server.client.chat.completions.create(**asked(max_tokens=5))
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 5
    stream = [
        *server.client.chat.completions.create(
            **asked(max_tokens=5), stream=True, stream_options={"include_usage": True}
        )
    ]
    assert stream[-1].choices == []
    assert stream[-1].usage == whole.usage
    assert [one.choices[0].finish_reason for one in stream[:-1]][-1] == "length"
    assert len({one.id for one in stream}) == 1
    stopped = asked(max_tokens=30, stop=(whole.choices[0].message.content or "")[-1])
    with server.client.chat.completions.stream(**stopped) as events:
        collected = events.get_final_completion().choices[0].message.content
    assert collected == server.client.chat.completions.create(**stopped).choices[0].message.content


def test_many_concurrent_requests_each_get_their_own_answer(server: Server) -> None:
    texts = [f"Count {'on ' * (number % 7)}from {number}." for number in range(24)]

    def answer(number: int, stream: bool) -> str:
        body = asked(texts[number], temperature=1.1, seed=number, max_tokens=8 + number)
        found = server.client.chat.completions.create(**body, stream=stream)
        if not stream:
            return str(found.choices[0].message.content)
        return "".join(piece.choices[0].delta.content or "" for piece in found)

    alone = [answer(number, False) for number in range(24)]
    with ThreadPoolExecutor(24) as pool:
        together = [*pool.map(answer, range(24), [number % 2 == 0 for number in range(24)])]
    assert together == alone
    assert len(set(alone)) > 12


def test_n_answers_have_seeds_that_follow_each_other(server: Server) -> None:
    several = server.client.chat.completions.create(**asked(temperature=1.5, seed=40, n=3))
    alone = [
        server.client.chat.completions.create(**asked(temperature=1.5, seed=40 + index)).choices[0]
        for index in range(3)
    ]
    assert [one.message.content for one in several.choices] == [one.message.content for one in alone]
    assert [one.index for one in several.choices] == [0, 1, 2]


def test_a_stop_text_is_left_out_also_of_a_stream(server: Server) -> None:
    whole = server.client.chat.completions.create(**asked(max_tokens=30)).choices[0].message.content
    assert whole
    stop = whole[8:12]
    body = asked(max_tokens=30, stop=[stop])
    cut = server.client.chat.completions.create(**body).choices[0]
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"
    pieces = server.client.chat.completions.create(**body, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == cut.message.content


def test_log_probabilities_are_those_of_the_model(server: Server) -> None:
    choice = server.client.chat.completions.create(
        **asked(logprobs=True, top_logprobs=3, max_tokens=4)
    ).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert len(choice.logprobs.content) == 4
    for place in choice.logprobs.content:
        assert len(place.top_logprobs) == 3
        assert place.logprob == place.top_logprobs[0].logprob  # greedy
        assert place.top_logprobs[0].logprob >= place.top_logprobs[1].logprob
    completion = server.client.completions.create(
        model="tiny", prompt=["The quick", "A bird"], logprobs=2, temperature=0, max_tokens=3
    )
    assert [len(one.logprobs.tokens or ()) for one in completion.choices if one.logprobs] == [3, 3]


def test_a_bias_and_penalties_change_the_answer(server: Server) -> None:
    def written(**more: Any) -> str:
        return str(server.client.completions.create(model="tiny", prompt="The", **more).choices[0].text)

    biased = written(temperature=0, max_tokens=3, logit_bias={"20": 100})
    assert biased == server.loaded.catalogue.models["tiny"].tokenizer.decode([20, 20, 20])
    plain, penal = (
        server.client.completions.create(
            model="tiny", prompt="The", temperature=0, max_tokens=20, logprobs=0, **penalties
        )
        for penalties in ({}, {"presence_penalty": 2, "frequency_penalty": 2})
    )
    repeated, fresh = (
        one.choices[0].logprobs.tokens or [] for one in (plain, penal) if one.choices[0].logprobs
    )
    assert len(set(fresh)) > len(set(repeated))


def test_an_answer_is_held_to_a_schema(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}, "count": {"type": "integer", "maximum": 99}},
        "required": ["size", "count"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "order", "schema": schema}}
    choice = server.client.chat.completions.create(
        **asked(max_tokens=60, response_format=wanted, temperature=1.0, seed=3)
    ).choices[0]
    order = json.loads(choice.message.content or "")
    assert order["size"] in ("small", "large")
    assert isinstance(order["count"], int)
    broken = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    with pytest.raises(openai.BadRequestError, match="schema"):
        server.client.chat.completions.create(**asked(response_format=broken))


def test_an_unknown_model_is_a_404_that_lists_the_models(server: Server) -> None:
    with pytest.raises(openai.NotFoundError, match="There are: tiny"):
        server.client.chat.completions.create(**asked(model="gpt-4"))
    assert [model.id for model in server.client.models.list()] == ["tiny"]
    assert server.client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError):
        server.client.models.retrieve("other")
    with pytest.raises(openai.NotFoundError, match="no embeddings"):
        server.client.embeddings.create(model="tiny", input="x")


def test_tools_that_the_template_does_not_show_are_refused(server: Server) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    with pytest.raises(openai.BadRequestError, match="shows no tools"):
        server.client.chat.completions.create(**asked(tools=[tool]))


def test_two_adapters_answer_concurrently_each_with_its_own_weights(tiny_model: Path, tmp_path: Path) -> None:
    adapters = {
        name: make_adapter(tiny_model, tmp_path / name, seed) for seed, name in enumerate(("one", "two"))
    }
    folders: dict[str, Path | None] = {"tiny": None, **adapters}
    expected = {
        (name, number): offline(tiny_model, folder, f"Say {number}.", 10, 0.0, 0)
        for name, folder in folders.items()
        for number in range(4)
    }
    assert len({expected[name, 0] for name in folders}) == 3, "the adapters change nothing"
    with serving(tiny_model, adapters, slots=6) as server:

        def answer(of: tuple[str, int]) -> str:
            found = server.client.chat.completions.create(
                **asked(f"Say {of[1]}.", model=of[0], max_tokens=10)
            )
            assert found.model == of[0]
            return str(found.choices[0].message.content)

        with ThreadPoolExecutor(12) as pool:
            found = dict(zip(expected, pool.map(answer, expected), strict=True))
        assert [model.id for model in server.client.models.list()] == ["tiny", "one", "two"]
    assert found == expected


def test_a_full_queue_is_told_to_try_again(tiny_model: Path) -> None:
    with serving(tiny_model, slots=1, queue=1) as server:
        long = asked(max_tokens=300, logit_bias={"2": -100})
        with ThreadPoolExecutor(6) as pool:
            answers = [*pool.map(lambda _: server.post("/v1/chat/completions", long), range(6))]
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "1"


def test_a_client_that_leaves_frees_its_slot(tiny_model: Path) -> None:
    long = asked(max_tokens=400, logit_bias={"2": -100})
    with serving(tiny_model, slots=2) as server:
        stream = server.client.chat.completions.create(**long, stream=True)
        next(iter(stream))
        stream.close()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/chat/completions", json=long, timeout=0.05)
        until = time.monotonic() + 5
        while server.batch.load.rows and time.monotonic() < until:
            time.sleep(0.01)
        assert server.batch.load.rows == 0
        assert server.batch.load.tokens < 800


def test_a_failing_model_ends_streams_with_an_error_and_then_answers_again(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tiny_model) as server:
        server.client.chat.completions.create(**asked())
        norm = server.loaded.model.body.norm  # type: ignore[attr-defined]
        forward = norm.forward
        left = [6]

        def failing(hidden: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise ValueError("planted")
            return forward(hidden)

        monkeypatch.setattr(norm, "forward", failing)
        stream = server.client.chat.completions.create(**asked(max_tokens=30), stream=True)
        with pytest.raises(openai.APIError, match="The model failed"):
            list(stream)
        left[0] = 1
        with pytest.raises(openai.InternalServerError) as failed:
            server.client.chat.completions.create(**asked())
        assert failed.value.response.headers["x-should-retry"] == "false"
        assert server.client.chat.completions.create(**asked()).choices[0].finish_reason == "length"


def test_a_stopped_server_lets_answers_end_and_cuts_long_ones(tiny_model: Path) -> None:
    long = asked(max_tokens=400, logit_bias={"2": -100})
    with serving(tiny_model, grace_s=0.1) as server:
        stream = server.client.chat.completions.create(**long, stream=True)
        iterator = iter(stream)
        next(iterator)
        server.stop.set()
        with pytest.raises(openai.APIError, match="stopped before"):
            list(iterator)
        with pytest.raises(openai.InternalServerError) as refused:
            server.client.chat.completions.create(**asked())
        assert refused.value.status_code == 503
    with serving(tiny_model, grace_s=30) as server:
        found: list[Any] = []
        thread = threading.Thread(
            target=lambda: found.append(server.client.chat.completions.create(**asked(max_tokens=60)))
        )
        thread.start()
        while not server.batch.load.rows and not found:
            time.sleep(0.001)
        server.stop.set()
        thread.join(20)
        assert found
        assert found[0].choices[0].finish_reason in ("length", "stop")
