"""Common models have short names, and recipes for them fit this machine; none of it needs a network."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.load import load_recipe
from engine.hardware.probe import probe
from engine.models.names import KNOWN
from engine.planning import model_plan
from ft.cli import main
from tests.hub_server import COMMIT, Hub, serving, use_hub
from tests.published_configs import SHORT_NAMES

GB = 10**9
Memory = Callable[[int], None]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """Sets the free memory of the machine that recipes are planned for, in bytes."""

    def sized(free: int) -> None:
        machine = dataclasses.replace(probe(), ram_bytes=free, available_bytes=free)
        monkeypatch.setattr(model_plan, "probe", lambda: machine)

    return sized


def model_of(recipe: Path) -> tuple[str, str, int]:
    model = load_recipe(recipe).config.model
    return model.base, model.quantization, model.max_seq_length


def test_every_short_name_has_known_size() -> None:
    assert {name: model.shape.parameters for name, model in KNOWN.items()} == SHORT_NAMES


def test_names_are_listed_with_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "names"]) == 0
    assert "meta-llama/Llama-3.2-3B-Instruct" in capsys.readouterr().out
    assert main(["models", "names", "--json"]) == 0
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert listed["smollm2-135m"]["fits"]["LoRA"] == "yes"
    assert listed["llama-3.2-3b"]["gated"]


def test_short_name_is_pulled_by_its_hub_id(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Hub("Qwen/Qwen3-0.6B", tiny_model)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        assert main(["models", "pull", "Qwen3-0.6b"]) == 0
        told = capsys.readouterr()
        assert "stands for Qwen/Qwen3-0.6B" in told.err
        assert told.out.strip().endswith(COMMIT)
        assert main(["models", "show", "qwen3-0.6b"]) == 0
    assert COMMIT in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["models", "pull"], ["models", "show"], ["plan", "--model"], ["init", "--model"]]
)
def test_misspelt_short_name_is_recognised(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "mistal-7b"]) == 4
    assert "did you mean mistral-7b?" in capsys.readouterr().err


def test_folder_goes_before_short_name(
    tiny_model: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "gpt2").symlink_to(tiny_model)
    assert main(["models", "show", "gpt2"]) == 0
    assert "llama" in capsys.readouterr().out


def test_known_model_is_planned_without_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--model", "llama-3.3-70b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["memory"]["weights"] == 2 * SHORT_NAMES["llama-3.3-70b"]


@pytest.mark.parametrize(("free", "quantization"), [(80 * GB, "none"), (14 * GB, "4bit")])
def test_new_recipe_is_quantised_where_memory_asks_for_it(
    free: int, quantization: str, memory: Memory, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory(free)
    assert main(["init", "--model", "mistral-7b"]) == 0
    base, found, _ = model_of(place / "train.yml")
    assert (base, found) == ("mistralai/Mistral-7B-Instruct-v0.3", quantization)
    assert "rows of 512 tokens in a micro-batch" in capsys.readouterr().err


def test_model_that_cannot_fit_gets_no_recipe(
    memory: Memory, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory(8 * GB)
    assert main(["init", "--model", "qwen2.5-72b"]) == 1
    told = capsys.readouterr().err
    assert "qwen2.5-72b does not fit into this machine's memory" in told
    assert "ft models names" in told
    assert not (place / "train.yml").exists()


def test_new_recipe_keeps_within_context_of_model(memory: Memory, place: Path) -> None:
    memory(24 * GB)
    assert main(["init", "--model", "gpt2", "--profile", "chat"]) == 0
    assert model_of(place / "train.yml") == ("openai-community/gpt2", "none", 1024)


def test_new_recipe_of_gated_model_says_what_to_do(
    memory: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    memory(24 * GB)
    assert main(["init", "--model", "llama-3.2-1b"]) == 0
    told = capsys.readouterr().err
    assert "https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct" in told
    assert "ft secrets set HF_TOKEN" in told
