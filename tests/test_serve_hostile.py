"""Requests that no well-meaning client sends, and doors that stay shut."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.serving.guard import Door
from tests.serving import Server, serving

SAID = [{"role": "user", "content": "Say fox."}]
BODY: dict[str, Any] = {"model": "tiny", "messages": SAID, "max_tokens": 2, "temperature": 0}
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[Server]:
    with serving(tiny_model, door=Door(most_body=100_000)) as running:
        yield running


@pytest.fixture(autouse=True)
def still_answers(server: Server) -> Iterator[None]:
    """Whatever was sent, the next request is answered."""
    yield
    assert server.post(CHAT, BODY).status_code == 200


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temprature": 1}, "temprature"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"functions": []}, "functions"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 1e999}, None),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 2**70}, "seed"),
        ({"stop": [1]}, "stop"),
        ({"stop": ["a"] * 99}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 1000}}, "logit_bias"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, "messages"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools"),
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
    ],
)
def test_a_wrong_parameter_is_a_400_with_its_name(
    server: Server, change: dict[str, Any], param: str | None
) -> None:
    body = json.dumps(BODY | change).encode()
    answer = server.post(CHAT, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        b"[" * 50_000,
        b'{"a":' * 20_000,
        b'{"model": "tiny", "messages": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"model": "tiny", "temperature": NaN}',
        b'{"model": "tiny", "seed": ' + b"9" * 5000 + b"}",
        b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
    ],
)
def test_a_body_that_is_no_request_is_refused(server: Server, body: bytes) -> None:
    assert server.post(CHAT, body).status_code in (400, 404)


@pytest.mark.parametrize(
    "prompt", ["", [], [[]], [-1], [10**9], ["a", 1], [["a"]], "\ud800", {"a": 1}, ["x"] * 200, [2**70]]
)
def test_a_prompt_that_is_none_is_refused(server: Server, prompt: Any) -> None:
    answer = server.post(TEXT, json.dumps({"model": "tiny", "prompt": prompt, "max_tokens": 1}).encode())
    # an empty text may be continued: it begins as the tokenizer begins a text
    assert answer.status_code == (200 if prompt == "" else 400), answer.text


def test_a_body_beyond_the_limit_is_refused_while_it_comes(server: Server) -> None:
    assert server.post(CHAT, b"x" * 200_000).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 10_000

    answer = httpx.post(f"{server.url}{CHAT}", content=chunks(), timeout=30)
    assert answer.status_code == 413


def test_a_request_that_is_cut_off_harms_nobody(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for sent in (
        b"POST",
        b"\x00" * 100,
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent)


def test_unknown_addresses_and_methods_are_told_as_json(server: Server) -> None:
    assert server.post("/v1/nothing", {}).json()["error"]["code"] == "unknown_url"
    answer = httpx.get(f"{server.url}{CHAT}")
    assert answer.status_code == 405
    assert "error" in answer.json()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8000"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:1"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 200),
    ],
)
def test_other_names_and_pages_of_others_are_not_answered(
    server: Server, headers: dict[str, str], status: int
) -> None:
    assert server.post(CHAT, BODY, headers=headers).status_code == status
    assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == status


def test_a_key_is_demanded_where_there_is_one(tiny_model: Path) -> None:
    with serving(tiny_model, door=Door(hosts=None, key="s3cret")) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cre"}):
            answer = server.post(CHAT, BODY, headers=headers)
            assert answer.status_code == 401
            assert "s3cret" not in answer.text
        assert server.post(CHAT, BODY, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert httpx.get(f"{server.url}/health").status_code == 200
