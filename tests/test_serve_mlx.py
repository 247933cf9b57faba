"""mlx_lm.server behind `ft serve`, as it runs: OpenAI's client, the answers of the trained model, and our rules."""

import importlib.util
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from engine.data.types import Message, Prompt, Sampling
from engine.export.mlx import write
from engine.inference.generation import Generator
from engine.runs.directory.events import Finished, Load, Started
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from tests.parity_models import adapted, sharp_model
from tests.test_serve_command import address, command, refusal
from tests.tiny import change_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("mlx_lm") is None, reason="needs mlx-lm"),
]
QUESTION = "What is the capital of France?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]
TOKENS = 16


def await_load(run: Run, wanted: Load) -> None:
    """Wait until a server's events tell of that load."""
    for _ in range(600):
        told = [replace(event, t=wanted.t) for event in run.events() if isinstance(event, Load)]
        if wanted in told:
            return
        time.sleep(0.1)
    raise AssertionError(told)


@dataclass(frozen=True)
class Behind:
    """Our server's address, and the process behind it."""

    url: str
    process: psutil.Process


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder = tmp_path_factory.mktemp("trained")
    return adapted(sharp_model(tiny_model, folder / "base"), folder / "tuned")


def client_of(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60)


def greedy(model: TrainedModel) -> str:
    """The answer of the trained model, its adapter beside its base, by ft's own code on torch.

    Without a space in front, which mlx-lm leaves out.
    """
    chat = Generator.open(model.base_folder(), model.adapter)
    prompt = Prompt((Message("user", QUESTION),), 0)
    return "".join(piece.text for piece in chat.stream(prompt, Sampling(TOKENS, 0.0, 0))).removeprefix(" ")


def server_of(run: Run) -> psutil.Process:
    """The process of mlx_lm.server that the engine of a run has started."""
    (started,) = [event for event in run.events() if isinstance(event, Started)]
    (child,) = psutil.Process(started.pid).children()
    assert "engine.serving.mlx_process" in child.cmdline()
    return child


@pytest.fixture(scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def served(trained: TrainedModel, _home: None) -> Iterator["Behind"]:
    """A server of the adapter on its base."""
    with command(str(trained.adapter), "--name", "tuned", "--engine", "mlx", "--slots", "2") as process:
        url = address(process)
        (run,) = Run.all()
        yield Behind(url, server_of(run))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_an_adapter_answers_as_the_trained_model(served: Behind, trained: TrainedModel) -> None:
    client, expected = client_of(served.url), greedy(trained)
    assert expected != greedy(TrainedModel(trained.base))
    asked: dict[str, Any] = {"model": "tuned", "messages": MESSAGES, "temperature": 0, "max_tokens": TOKENS}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == expected
    assert whole.model == "tuned"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == TOKENS
    pieces = [*client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})]
    assert "".join(part.choices[0].delta.content or "" for part in pieces if part.choices) == expected
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == TOKENS


def test_a_text_is_continued_as_by_the_trained_model(served: Behind, trained: TrainedModel) -> None:
    text = "<|im_start|>user\n" + QUESTION + "<|im_end|>\n<|im_start|>assistant\n"
    client = client_of(served.url)
    asked: dict[str, Any] = {"model": "tuned", "prompt": text, "temperature": 0, "max_tokens": TOKENS}
    assert client.completions.create(**asked).choices[0].text == greedy(trained)
    pieces = client.completions.create(**asked, stream=True)
    assert "".join(part.choices[0].text for part in pieces) == greedy(trained)


def test_models_are_those_that_are_served(served: Behind, trained: TrainedModel) -> None:
    client = client_of(served.url)
    assert [model.id for model in client.models.list()] == ["tuned"]
    for other in ("gpt-4", "default_model", str(trained.base)):
        with pytest.raises(openai.NotFoundError, match="There are: tuned"):
            client.chat.completions.create(model=other, messages=MESSAGES, max_tokens=2)
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(other)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"adapters": "/somewhere"}, "adapters"),
        ({"draft_model": "someone/else"}, "draft_model"),
        ({"chat_template_kwargs": {}}, "chat_template_kwargs"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"7": 1}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"stop": [7]}, "stop"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]}, "messages"),
    ],
)  # fmt: skip
def test_what_it_would_ignore_or_fetch_is_refused(served: Behind, more: dict[str, Any], named: str) -> None:
    body = {"model": "tuned", "messages": MESSAGES, "max_tokens": 2} | more
    found = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=60)
    assert (found.status_code, found.json()["error"]["param"]) == (400, named)


@pytest.mark.parametrize("prompt", ["", ["a", "b"], [1, 2], [[1]]])
def test_prompts_that_would_end_it_are_refused(served: Behind, prompt: Any) -> None:
    body = {"model": "tuned", "prompt": prompt, "max_tokens": 2}
    assert httpx.post(f"{served.url}/v1/completions", json=body, timeout=60).status_code == 400
    assert (
        httpx.post(f"{served.url}/v1/completions", json=body | {"prompt": "a"}, timeout=60).status_code == 200
    )


def test_pages_and_other_names_may_not_ask(served: Behind) -> None:
    url = f"{served.url}/v1/models"
    assert httpx.get(url).status_code == 200
    assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 403
    found = httpx.get(url, headers={"Origin": "https://evil.example"})
    assert found.status_code == 403
    assert "access-control-allow-origin" not in found.headers


def test_the_server_behind_answers_nobody_else(served: Behind) -> None:
    """It listens on a port of its own, which another program may find."""
    listening = [one for one in served.process.net_connections() if one.status == psutil.CONN_LISTEN]
    (port,) = {one.laddr.port for one in listening}
    body = {"messages": MESSAGES, "max_tokens": 2}
    for found in (
        httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body),
        httpx.get(f"http://127.0.0.1:{port}/v1/models"),
    ):
        assert found.status_code == 401


def test_a_merged_folder_is_served_with_a_key_and_ends_its_answers(
    ft_home: Path, trained: TrainedModel, tmp_path: Path
) -> None:
    folder = tmp_path / "merged"
    folder.mkdir()
    write(trained, folder, {}, lambda: None)
    asked: dict[str, Any] = {"model": "merged", "messages": MESSAGES, "temperature": 0}
    with command(str(folder), "--engine", "mlx", environment={"SERVE_API_KEY": "k3y"}) as process:
        url = address(process)
        with pytest.raises(openai.AuthenticationError):
            client_of(url, "wrong").models.list()
        client = client_of(url, "k3y")
        said = client.chat.completions.create(**asked, max_tokens=TOKENS)
        assert said.choices[0].message.content == greedy(trained)
        (run,) = Run.all()
        await_load(run, Load(running=0, waiting=0, answers=1))
        stream = client.chat.completions.create(**asked, max_tokens=200, stream=True)
        next(iter(stream))
        process.send_signal(signal.SIGINT)
        assert [part.choices[0].finish_reason for part in stream][-1] in ("stop", "length")
        assert process.wait(60) == 0
    assert [event.reason for event in run.events() if isinstance(event, Finished)] == ["stopped"]


def test_a_killed_engine_leaves_no_server(ft_home: Path, trained: TrainedModel) -> None:
    with command(str(trained.adapter), "--name", "tuned", "--engine", "mlx") as process:
        address(process)
        (run,) = Run.all()
        behind = server_of(run)
        behind.parent().kill()
        assert process.wait(60) not in (0, None)
        behind.wait(60)


def test_a_model_that_does_not_load_ends_the_server(
    ft_home: Path, trained: TrainedModel, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    change_model(trained.base_folder(), broken, lambda tensors: dict([*tensors.items()][1:]))
    code, stderr = refusal(str(broken), "--engine", "mlx", "--port", "0")
    assert code == 7
    assert "The server of mlx ended with exit code 1" in stderr


def test_mistakes_have_one_message_and_their_exit_code(ft_home: Path, trained: TrainedModel) -> None:
    model, adapter = str(trained.base), str(trained.adapter)
    code, stderr = refusal("no-such-run", "--engine", "mlx")
    assert (code, "no-such-run" in stderr) == (2, True)
    code, stderr = refusal(model, "--engine", "mlx", "--adapter", f"one={adapter}")
    assert (code, "one model at a time" in stderr) == (2, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, stderr = refusal(model, "--engine", "mlx", "--port", str(port))
    assert (code, f"Port {port}" in stderr) == (7, True)


def test_without_mlx_lm_it_says_how_to_install_it(ft_home: Path, trained: TrainedModel) -> None:
    program = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'mlx_lm' else real(name, *more)\n"
        "from ft.cli import main\n"
        f"sys.argv = ['ft', 'serve', {str(trained.base)!r}, '--engine', 'mlx']\n"
        "sys.exit(main())\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.returncode == 7
    assert "pip install mlx-lm" in found.stderr
    assert "Traceback" not in found.stderr
