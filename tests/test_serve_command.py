"""`ft serve` as a person runs it: the real process, its address, how it stops, and what it refuses."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from engine.data.types import Message, Prompt, Sampling
from engine.inference.generation import Generator
from engine.runs.directory.events import Finished, Started
from engine.runs.directory.run import Run
from tests.serving import make_adapter


@contextmanager
def command(*words: str, environment: Mapping[str, str] | None = None) -> "Iterator[subprocess.Popen[str]]":
    """A running `ft serve`; what it prints is events as JSON on stdout."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ft.cli", "serve", *words, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ) | dict(environment or {}),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def address(process: "subprocess.Popen[str]") -> str:
    """The server's address, once it serves."""
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["type"] == "phase" and event["name"] == "serving":
            return str(event["note"].partition(" at ")[2].removesuffix("/v1"))
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


@pytest.mark.slow
def test_the_starter_answers_as_ft_generate_and_stops_on_ctrl_c(
    ft_home_with_starter: Path, starter_model: Path
) -> None:
    question = "What is the capital of France?"
    prompt = Prompt((Message("user", question),), 5)
    with command("starter", "--exact") as process:
        url = address(process)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)
        found = client.chat.completions.create(
            model="starter",
            messages=[{"role": "user", "content": question}],
            temperature=0.8,
            seed=5,
            max_tokens=12,
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    chat = Generator.open(starter_model, None)
    expected = "".join(piece.text for piece in chat.stream(prompt, Sampling(12, 0.8, 5)))
    assert found.choices[0].message.content == expected


@pytest.mark.slow
def test_a_server_is_a_run_that_ft_stop_ends(ft_home: Path, tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "german", 1)
    with command(str(tiny_model), "--name", "base", "--adapter", f"german={adapter}") as process:
        url = address(process)
        listed = httpx.get(f"{url}/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["base", "german"]
        (run,) = Run.all()
        assert run.kind == "serve"
        assert run.alive()
        stopped = subprocess.run(
            [sys.executable, "-m", "ft.cli", "stop", run.id], capture_output=True, text=True
        )
        assert stopped.returncode == 0, stopped.stderr
        assert process.wait(30) == 0
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/health")
        assert [event.reason for event in run.events() if isinstance(event, Finished)] == ["stopped"]


@pytest.mark.slow
def test_a_killed_engine_is_told_and_leaves_no_server(ft_home: Path, tiny_model: Path) -> None:
    with command(str(tiny_model), "--name", "base") as process:
        url = address(process)
        (run,) = Run.all()
        (started,) = [event for event in run.events() if isinstance(event, Started)]
        os.kill(started.pid, signal.SIGKILL)
        assert process.wait(60) not in (0, None)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/health")


@pytest.mark.slow
def test_a_key_from_the_environment_opens_a_server_to_others(ft_home: Path, tiny_model: Path) -> None:
    words = (str(tiny_model), "--name", "base", "--host", "0.0.0.0")
    refused = subprocess.run(
        [sys.executable, "-m", "ft.cli", "serve", *words], capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2
    assert "no API key" in refused.stderr
    with command(*words, environment={"SERVE_API_KEY": "k3y"}) as process:
        url = address(process)
        assert httpx.get(f"{url}/v1/models").status_code == 401
        headers = {"Authorization": "Bearer k3y", "Host": "gpu-box.example"}
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def refusal(*words: str) -> tuple[int, str]:
    """Exit code and stderr of an `ft serve` that does not come up."""
    found = subprocess.run(
        [sys.executable, "-m", "ft.cli", "serve", *words], capture_output=True, text=True, timeout=240
    )
    assert "Traceback" not in found.stderr
    return found.returncode, found.stderr


def test_mistakes_are_told_in_one_message(ft_home: Path, tiny_model: Path, tmp_path: Path) -> None:
    model = str(tiny_model)
    for words, said in (
        (("no-such-run",), "no-such-run"),
        ((model, "--adapter", "german"), "NAME=RUN"),
        ((model, "--adapter", f"whole={model}"), "whole model"),
        ((model, "--name", "x", "--adapter", f"x={make_adapter(tiny_model, tmp_path / 'x', 1)}"), "taken"),
        ((model, "--host", "not an address"), "no API key"),
    ):
        code, stderr = refusal(*words)
        assert code == 2, (words, stderr)
        assert said in stderr


@pytest.mark.slow
def test_a_taken_port_is_named(ft_home: Path, tiny_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, stderr = refusal(str(tiny_model), "--port", str(port))
    assert code == 7
    assert f"Port {port}" in stderr
