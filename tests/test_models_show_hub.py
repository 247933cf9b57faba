"""A hub model is judged before a byte of its weights is fetched: `ft models show`, `ft plan --model`."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.models.resolve import resolve
from ft.cli import main
from tests.hub_server import COMMIT, Hub, serving, use_hub
from tests.published_configs import MODELS
from tests.test_models_hub import REPO


@pytest.fixture
def published(tiny_model: Path, tmp_path: Path) -> Path:
    """A repository with the config of Mixtral 8x7B, whose weights nobody may fetch."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**MODELS["Mixtral-8x7B"].config, "dtype": "bfloat16"}))
    shutil.copy(tiny_model / "chat_template.jinja", folder)
    for number in (1, 2):
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(bytes(500_000))
    (folder / "model.safetensors.index.json").write_text("{}")
    (folder / "consolidated.safetensors").write_bytes(bytes(900_000))
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(REPO, published, card={"license": "apache-2.0"})) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        yield hub


def facts(text: str) -> dict[str, str]:
    return {
        label.strip(): value.strip()
        for label, _, value in (row.partition("   ") for row in text.splitlines())
    }


def weights_asked(hub: Hub) -> list[str]:
    return [path for _, path, _ in hub.requests if path.endswith(".safetensors")]


def test_show_describes_hub_model_without_its_weights(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", REPO]) == 0
    found = facts(capsys.readouterr().out)
    assert found["folder"] == f"not on this machine; fetch it with: ft models pull {REPO}"
    assert found["revision"] == COMMIT
    assert found["download"] == "1.00 MB in 5 files, 2 of them weights"
    assert found["licence"] == "apache-2.0"
    assert found["parameters"] == "46,702,792,704 in bf16"
    assert found["of a token"] == "12,879,925,248, with the experts that it goes through"
    assert found["template"] == "chatml"
    assert found["linear layers"] == "q_proj, k_proj, v_proj, o_proj, w1, w3, w2"
    assert found["full"].startswith("no: ")
    assert not weights_asked(hub)


def test_memory_is_told_for_given_length_and_batch(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    peaks = []
    for given in ([], ["--length", "4096"], ["--length", "4096", "--batch", "32"]):
        assert main(["models", "show", REPO, "--json", *given]) == 0
        peaks.append(json.loads(capsys.readouterr().out)["peak_bytes"]["LoRA"])
    assert peaks == sorted(set(peaks))


def test_show_in_json_has_files_and_shape(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", REPO, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["files"]["model-00001-of-00002.safetensors"] == 500_000
    assert "consolidated.safetensors" not in body["files"]
    assert (body["gated"], body["revision"], body["shape"]["layers"]) == (False, COMMIT, 32)
    assert body["shape"]["active_parameters"] == 12_879_925_248
    assert set(body["fits"]) == {"LoRA", "QLoRA", "full"}


def test_gated_model_says_what_to_do(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.gated = True
    assert main(["models", "show", REPO]) != 0
    told = capsys.readouterr().err
    assert f"{REPO} is gated" in told
    assert f"https://huggingface.co/{REPO}" in told
    assert "ft secrets set HF_TOKEN" in told


def test_model_that_is_nowhere_is_named(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "someone/else"]) != 0
    assert "There is no model someone/else on the hub" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["model.Q4_K_M.gguf"], "has GGUF files alone"),
        (["adapter_config.json"], "is an adapter, not a whole model"),
        (["README.md"], "has no config.json"),
    ],
)
def test_repository_that_is_no_model_is_called_what_it_is(
    files: list[str], said: str, hub: Hub, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (published / "config.json").unlink()
    for name in files:
        (published / name).write_text("{}")
    assert main(["models", "show", REPO]) == 4
    assert said in capsys.readouterr().err


def test_without_network_says_that_hub_cannot_be_asked(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["models", "show", REPO]) == 4
    told = capsys.readouterr().err
    assert f"There is no model {REPO} on this machine" in told
    assert "HF_HUB_OFFLINE" in told


def test_revision_of_hub_model_is_shown(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", REPO, "--revision", "main"]) == 0
    assert facts(capsys.readouterr().out)["revision"] == COMMIT
    assert main(["models", "show", REPO, "--revision", "v9"]) != 0
    assert f"{REPO} has no revision v9" in capsys.readouterr().err
    assert main(["models", "show", "starter", "--revision", "main"]) == 4


def test_hub_model_is_planned_from_its_config(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--model", REPO, "--length", "700", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["memory"]["weights"] == 2 * 46_702_792_704
    assert not weights_asked(hub)
    assert main(["plan", "--model", REPO, "--check"]) == 1


def test_plan_of_pulled_model_asks_no_hub(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Hub(REPO, tiny_model)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        assert main(["models", "pull", REPO]) == 0
    capsys.readouterr()
    assert main(["plan", "--model", REPO, "--set", "adapter.rank=64"]) == 0
    assert "It fits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.yml", "--model", "starter"], "--model plans without a recipe"),
        (["--length", "100"], "--length is for --model"),
        (["--model", "starter", "--backend", "all", "--check"], "--check is for one plan"),
        (["--model", "starter", "--set", "adapter.rnk=3"], "did you mean rank"),
    ],
)
def test_plan_options_that_contradict_are_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == 2
    assert said in capsys.readouterr().err


def test_commit_that_is_here_is_shown_without_asking_the_hub(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Hub(REPO, tiny_model)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        folder = resolve(REPO).folder
        asked = len(hub.requests)
        assert main(["models", "show", REPO, "--revision", COMMIT]) == 0
        shown = facts(capsys.readouterr().out)
        assert (shown["folder"], shown["revision"]) == (str(folder), COMMIT)
        assert len(hub.requests) == asked
        (folder / "model.safetensors").unlink()
        assert main(["models", "show", REPO, "--revision", COMMIT]) == 0
        assert len(hub.requests) > asked
        assert "not on this machine" in facts(capsys.readouterr().out)["folder"]
