"""`ft models search`: the hub's models, with what this machine can train of them, before weights are fetched."""

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.models.search import Query, search, shapes
from ft.cli import main
from tests.hub_server import COMMIT, Hub, serving, use_hub
from tests.published_configs import MODELS
from tests.terminal import Terminal

CHAT = {"tokenizer_config": {"chat_template": "{{ messages }}"}}


def listing(tmp_path: Path) -> dict[str, Mapping[str, Any]]:
    """A small model, a huge one, a quantised one and a gated one."""

    def model(
        config: str, total: int, downloads: int, about: Mapping[str, Any], **more: Any
    ) -> dict[str, Any]:
        own = {key: about[key] for key in about if key == "quantization_config"}
        folder = tmp_path / (config + "-packed" * bool(own))
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({**MODELS[config].config, **own}))
        kind = MODELS[config].config["model_type"]
        return {
            "config": {"model_type": kind, **about},
            "safetensors": {"parameters": {"BF16": total}, "total": total},
            "gated": False,
            "downloads": downloads,
            "likes": downloads // 10,
            "lastModified": "2026-03-01T10:00:00.000Z",
            "tags": ["license:apache-2.0"],
            "folder": folder,
        } | more

    packed = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    gated: dict[str, Any] = model(
        "Mistral-7B-v0.1", 7_241_732_096, 10, CHAT, gated="manual", tags=["license:other"]
    )
    del gated["folder"]
    return {
        "someone/tiny-llama": model("smollm2-135m", 134_515_008, 500, CHAT),
        "someone/huge-llama": model("Llama-2-70b", 68_976_648_192, 900, {}),
        "someone/tiny-llama-gptq": model("smollm2-135m", 40_000_000, 50, CHAT | packed),
        "someone/gated-llama": gated,
    }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub("someone/none", tmp_path, listed=listing(tmp_path))) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        yield hub


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return {model["name"]: model for model in json.loads(capsys.readouterr().out)}


def test_search_lists_models_with_what_they_are(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "search", "llama"]) == 0
    told = capsys.readouterr().out
    for words in ("someone/tiny-llama ", "135M", "apache-2.0", "2026-03-01", "(quantised)", "(gated)"):
        assert words in told
    assert len(hub.searches) == 1


def test_search_says_what_fits_from_configs_alone(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "search", "llama", "--json"]) == 0
    models = found(capsys)
    assert models["someone/tiny-llama"]["fits"] == {"LoRA": "yes", "QLoRA": "yes", "full": "yes"}
    assert models["someone/huge-llama"]["fits"]["full"] == "no"
    assert models["someone/gated-llama"]["fits"]["LoRA"] == "?", "its config may not be read"
    assert not [path for _, path, _ in hub.requests if path.endswith(".safetensors")]
    assert main(["models", "search", "llama", "--json", "--fits", "full"]) == 0
    assert set(found(capsys)) == {"someone/tiny-llama"}, "GPTQ is made for answering"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--quantised"], ["tiny-llama-gptq"]),
        (["--unquantised", "--instruct"], ["tiny-llama", "gated-llama"]),
        (["--base"], ["huge-llama"]),
        (["--architecture", "mistral"], ["gated-llama"]),
        (["--sort", "size"], ["tiny-llama-gptq", "tiny-llama", "gated-llama", "huge-llama"]),
        (["--limit", "1"], ["tiny-llama"]),
    ],
)
def test_filters_and_orders_hold(
    words: list[str], names: list[str], hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "search", "llama", "--json", *words]) == 0
    assert list(found(capsys)) == [f"someone/{name}" for name in names]


def test_hub_is_asked_for_what_it_can_filter(hub: Hub) -> None:
    query = Query("llama", "llama", "mit", gated=False, smallest=1, largest=7.5, sort="newest", limit=5)
    search(query)
    [asked] = hub.searches
    assert asked["filter"] == ["license:mit", "llama"]
    assert asked["num_parameters"] == ["min:1B,max:7.5B"]
    assert asked["sort"] == ["lastModified"]
    assert asked["limit"] == ["5"]
    assert asked["gated"] in (["False"], ["false"])


def test_search_that_is_left_asks_for_no_more_configs(hub: Hub, tmp_path: Path) -> None:
    facts = hub.listed["someone/tiny-llama"]
    hub.listed = {f"someone/tiny-llama-{number}": facts for number in range(100)}
    arriving = shapes(search(Query("tiny", limit=100)))
    _, shape = next(arriving)
    assert shape is not None
    assert shape.parameters == 134_515_008
    arriving.close()
    assert len([path for _, path, _ in hub.requests if path.endswith("config.json")]) < 100


def test_search_without_network_says_so(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["models", "search", "llama"]) != 0
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err


@pytest.mark.slow
def test_terminal_shows_models_before_configs_and_ctrl_c_leaves_the_rest_open(hub: Hub) -> None:
    hub.hold_configs = threading.Event()
    terminal = Terminal("models", "search", "llama")
    terminal.wait_for("someone/huge-llama")
    assert "yes" not in terminal.shown
    terminal.press(b"\x03")
    assert terminal.end() == 130
    terminal.wait_for("Stopped; what has not arrived is left open.")
    assert "Traceback" not in terminal.shown


@pytest.mark.slow
def test_terminal_shows_what_fits_as_configs_arrive(hub: Hub) -> None:
    hub.hold_configs = threading.Event()
    terminal = Terminal("models", "search", "llama")
    terminal.wait_for("someone/huge-llama")
    assert "yes" not in terminal.shown
    hub.hold_configs.set()
    assert terminal.end() == 0
    terminal.wait_for("yes    yes    yes")  # whatever the width


def test_nothing_found_is_said(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "search", "xyzzy"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, "No model of the hub suits" in shown.err) == ("", True)


@pytest.mark.parametrize("words", [["--sort", "age"], ["--fits", "dpo"]])
def test_unknown_order_or_method_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "search", "llama", *words]) == 2
    assert "There are: " in capsys.readouterr().err


def test_found_model_has_commit(hub: Hub) -> None:
    assert {model.revision for model in search(Query("llama"))} == {COMMIT}
