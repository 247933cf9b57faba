"""`ft generate --url` and `ft chat --url`: answers of an OpenAI-compatible server, over real HTTP."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from engine.data.types import Message, Sampling
from engine.errors import ConfigError, FtError, MachineError
from engine.inference.answer import Answer, End, gathered
from engine.inference.remote import Server, asked, events
from ft.command_table import app
from tests.openai_server import Served, serving

ASK = [Message("user", "Two and two?")]


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        yield served


def answered(server: Served, **settings: Any) -> Answer:
    return gathered(Server.at(server.url).pieces("tuned", ASK, Sampling(**settings)))


def ft(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, words, input=given)


def test_server_answers_like_a_model_here(server: Served) -> None:
    server.says(
        {"role": "assistant"},
        {"content": "Fo"},
        {"content": "ur."},
        usage={"prompt_tokens": 9, "completion_tokens": 2},
    )
    assert answered(server) == Answer("Four.", end=End("stop", 9, 2))
    done = ft("generate", "--url", server.url, "--prompt", "Two and two?", "--system", "Be short.")
    assert (done.stdout, done.stderr, done.exit_code) == ("Four.\n", "", 0)
    assert server.asked[-1]["model"] == "tuned"
    assert server.asked[-1]["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Two and two?"},
    ]


def test_settings_reach_the_server_and_defaults_of_ours_do_not(server: Served) -> None:
    server.says({"content": "Four."})
    answered(server)
    assert {"top_k", "min_p", "repetition_penalty", "stop"}.isdisjoint(server.asked[-1])
    answered(
        server,
        temperature=0.7,
        seed=3,
        max_tokens=9,
        top_p=0.9,
        top_k=4,
        min_p=0.1,
        repetition_penalty=1.1,
        stop=("x",),
    )
    body = server.asked[-1]
    assert (body["temperature"], body["seed"], body["max_tokens"], body["top_p"]) == (0.7, 3, 9, 0.9)
    assert (body["top_k"], body["min_p"], body["repetition_penalty"], body["stop"]) == (4, 0.1, 1.1, ["x"])


@pytest.mark.parametrize("drops", [False, True])
def test_stream_that_is_cut_says_so_and_keeps_what_came(server: Served, drops: bool) -> None:
    server.says({"content": "Four"}, {"content": " is"}, finish=None)
    server.drops = drops
    pieces = Server.at(server.url).pieces("tuned", ASK, Sampling())
    assert next(pieces).text + next(pieces).text == "Four is"
    with pytest.raises(MachineError, match="cut off before its end"):
        list(pieces)
    done = ft("generate", "--url", server.url, "--prompt", "hi")
    assert done.stdout == "Four is\n"
    assert isinstance(done.exception, MachineError)


def test_error_in_a_stream_is_the_servers_words(server: Served) -> None:
    server.lines = ['data: {"error": {"message": "out of memory"}}\n\n']
    with pytest.raises(MachineError, match="out of memory"):
        answered(server)


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, '{"error": {"message": "top_k is not supported"}}', ConfigError, "400: top_k is not supported"),
        (404, '{"detail": "no model x"}', ConfigError, "404: no model x"),
        (401, "", ConfigError, "401"),
        (503, "busy", MachineError, "503: busy"),
    ],
)
def test_refusal_is_explained(server: Served, status: int, body: str, kind: type[FtError], said: str) -> None:
    server.status, server.body = status, body
    with pytest.raises(kind, match=said) as refused:
        answered(server)
    assert ("--key NAME" in refused.value.hint) == (status == 401)


def test_key_is_sent_only_if_it_is_named(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-abc")
    server.says({"content": "Four."})
    ft("generate", "--url", server.url, "--prompt", "hi")
    assert server.keys == [None]
    ft("generate", "--url", server.url, "--prompt", "hi", "--key", "MY_KEY")
    assert server.keys[-1] == "Bearer sk-abc"
    missing = ft("generate", "--url", server.url, "--prompt", "hi", "--key", "OTHER_KEY")
    assert isinstance(missing.exception, ConfigError)
    assert "ft secrets set OTHER_KEY" in missing.exception.hint


def test_model_has_to_be_named_where_there_are_several(server: Served) -> None:
    server.models = ["one", "two"]
    server.says({"content": "Four."})
    refused = ft("generate", "--url", server.url, "--prompt", "hi")
    assert isinstance(refused.exception, ConfigError)
    assert "one, two" in refused.exception.message
    assert ft("generate", "--url", server.url, "--prompt", "hi", "--model", "two").stdout == "Four.\n"
    assert server.asked[-1]["model"] == "two"


def test_reasoning_and_calls_of_a_server_are_apart(server: Served, tmp_path: Path) -> None:
    server.says(
        {"reasoning_content": "I have "},
        {"reasoning_content": "to look."},
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "stock", "arguments": '{"fruit":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ' "apple"}'}}]},
        finish="tool_calls",
    )
    call = {"type": "function", "id": "c1", "function": {"name": "stock", "arguments": {"fruit": "apple"}}}
    assert answered(server) == Answer("", "I have to look.", (call,), End("tool_calls"))
    shown = json.loads(ft("generate", "--url", server.url, "--prompt", "hi", "--json").stdout)
    assert (shown["reasoning_content"], shown["tool_calls"]) == ("I have to look.", [call])
    assert shown["finish_reason"] == "tool_calls"
    plain = ft("generate", "--url", server.url, "--prompt", "hi")
    assert plain.stdout == '{"name": "stock", "arguments": {"fruit": "apple"}}\n'
    assert plain.stderr == "<think>\nI have to look.\n</think>\n"


def test_reasoning_in_the_text_is_apart_too(server: Served) -> None:
    server.says({"content": "<thi"}, {"content": "nk>Easy.</think>\n\nFour."})
    assert answered(server) == Answer("Four.", "Easy.", (), End("stop"))


def test_calls_and_their_results_go_back_as_the_api_has_them() -> None:
    call = {"type": "function", "function": {"name": "stock", "arguments": {"fruit": "apple"}}}
    said = [
        *ASK,
        Message("assistant", "", more={"tool_calls": [call], "reasoning_content": "Hm."}),
        Message("tool", "4"),
    ]
    _, answer, result = asked("tuned", said, Sampling(), ())["messages"]
    assert answer == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "call_0",
                "type": "function",
                "function": {"name": "stock", "arguments": '{"fruit": "apple"}'},
            }
        ],
    }
    assert result == {"role": "tool", "content": "4", "tool_call_id": "call_0"}


def test_conversation_goes_on_over_a_server(server: Served, tmp_path: Path) -> None:
    server.says({"content": "Four."})
    done = ft(
        "chat", "--url", server.url, "--save", str(tmp_path / "chats.jsonl"), given="Two and two?\nSure?\n"
    )
    assert done.stdout == "Four.\nFour.\n"
    assert [turn["content"] for turn in server.asked[-1]["messages"]] == ["Two and two?", "Four.", "Sure?"]
    (line,) = (tmp_path / "chats.jsonl").read_text().splitlines()
    assert [turn["role"] for turn in json.loads(line)["messages"]] == ["user", "assistant"] * 2


def test_unreachable_server_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    done = ft("generate", "--url", f"http://127.0.0.1:{port}", "--prompt", "hi")
    assert isinstance(done.exception, MachineError)
    assert f"127.0.0.1:{port}/v1 cannot be reached" in done.exception.message


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a", "http://", "http://me:secret@localhost"])
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Server.at(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/chat/completions"]
)
def test_address_may_be_given_with_or_without_its_path(url: str) -> None:
    assert Server.at(url).url == "http://a:1/v1"


@pytest.mark.parametrize("words", [["a-run"], ["--base"], ["--compare"]])
def test_run_and_server_exclude_each_other(words: list[str]) -> None:
    done = ft("generate", *words, "--url", "http://127.0.0.1:1", "--prompt", "hi")
    assert isinstance(done.exception, ConfigError)
    assert "--url asks a server" in done.exception.message


def test_events_may_have_comments_and_many_lines() -> None:
    lines = [
        ": ping",
        "",
        "event: x",
        'data: {"a":',
        "data: 1}",
        "",
        'data:{"b": 2}',
        "",
        "data: [DONE]",
        "",
        "data: 3",
        "",
    ]
    assert list(events(iter(lines))) == [{"a": 1}, {"b": 2}]
    with pytest.raises(MachineError, match="not JSON"):
        list(events(iter(["data: <html>", ""])))
