"""The engine that serves: the choice with its reason, and llama.cpp's own server behind `ft serve`."""

import signal
from pathlib import Path

import httpx
import openai
import pytest

from engine.errors import ConfigError, MachineError
from engine.models import starter
from engine.serving import engines
from engine.serving.loading import Wish
from tests.serving import make_adapter
from tests.test_serve_command import address, command


def test_the_choice_has_a_reason_and_fits_the_model(tiny_model: Path, tmp_path: Path) -> None:
    model, gguf = str(tiny_model), tmp_path / "model.gguf"
    gguf.touch()
    assert engines.choose(model, "auto") == engines.Engine(
        "ft", "it is ft's own, and no other is better here"
    )
    assert engines.choose(str(gguf), "auto").name == engines.choose(str(tmp_path), "auto").name == "llama"
    with pytest.raises(ConfigError, match="does not read"):
        engines.choose(str(gguf), "ft")
    with pytest.raises(ConfigError, match="not a GGUF"):
        engines.choose(model, "llama")
    with pytest.raises(ConfigError, match="no such engine"):
        engines.choose(model, "sglang")
    with pytest.raises(MachineError, match="vllm, which is not installed"):
        engines.choose(model, "vllm")


def test_vllm_is_told_the_largest_rank(tiny_model: Path, tmp_path: Path) -> None:
    adapters = {f"a{rank}": make_adapter(tiny_model, tmp_path / str(rank), rank, r=rank) for rank in (4, 20)}
    wish = Wish.of(str(tiny_model), {name: str(folder) for name, folder in adapters.items()}, "base")
    made = engines.vllm(wish, tiny_model, 9, 16, "k3y")
    words = " ".join(made.words)
    assert "--max-lora-rank 32" in words
    assert f"--lora-modules a4={adapters['a4']} a20={adapters['a20']}" in words
    assert "k3y" not in words
    assert made.environment == {"VLLM_API_KEY": "k3y"}


@pytest.mark.slow
def test_llama_cpp_serves_a_gguf(ft_home: Path, tmp_path: Path) -> None:
    packaged = starter.packaged_gguf()
    assert packaged is not None
    with command(
        str(packaged), "--name", "gguf", "--slots", "2", environment={"SERVE_API_KEY": "k3y"}
    ) as process:
        url = address(process)
        assert httpx.post(f"{url}/v1/chat/completions", json={}).status_code == 401
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="k3y", max_retries=0, timeout=120)
        said = client.chat.completions.create(
            model="gguf",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            max_tokens=12,
        )
        assert said.choices[0].message.content
        with pytest.raises(openai.NotFoundError, match="There are: gguf"):
            client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Hi"}])
        headers = {"Authorization": "Bearer k3y", "Host": "evil.example"}
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 403
        assert said.usage is not None
        assert said.usage.completion_tokens == 12
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/health")
