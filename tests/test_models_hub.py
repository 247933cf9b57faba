"""Hub models, fetched by the real client from a hub on this machine."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import HubError, MachineError, ModelError
from engine.jobs.base import Stopped
from engine.models import transfer
from engine.models.resolve import resolve
from tests.hub_server import COMMIT, Hub, serving, use_hub

REPO = "someone/tiny-llama"


@pytest.fixture
def published(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model as an author publishes it, with other formats beside it."""
    folder = shutil.copytree(tiny_model, tmp_path / "published")
    (folder / "onnx").mkdir()
    (folder / "onnx/model.safetensors").write_bytes(b"x" * 100)
    (folder / "onnx/config.json").write_text("{}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/tool_use.jinja").write_text("{{ tools }}")
    (folder / "pytorch_model.bin").write_bytes(b"x" * 100)
    (folder / "README.md").write_text("# Tiny")
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(REPO, published)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        yield hub


def read_weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_hub_model_is_downloaded_once(hub: Hub) -> None:
    """Its commit is reported."""
    seen: list[tuple[int, int]] = []
    model = resolve(REPO, progress=lambda note, done, total: seen.append((done, total)))
    assert (model.name, model.revision) == (REPO, COMMIT)
    assert seen[-1][0] == seen[-1][1] > 400_000
    assert {path.name for path in model.folder.iterdir()} >= {"config.json", "model.safetensors"}
    assert not (model.folder / "onnx").exists()
    assert (model.folder / "additional_chat_templates/tool_use.jinja").is_file()
    assert not (model.folder / "pytorch_model.bin").exists()
    downloads = len(hub.paths("GET"))
    again = resolve(REPO, revision="main")
    assert again == model
    assert not [path for path in hub.paths("GET")[downloads:] if "/resolve/" in path]


def test_cached_model_is_used_without_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve(REPO)
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    assert resolve(REPO) == model
    assert resolve(REPO, revision=COMMIT) == model


def test_uncached_model_without_network_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    with pytest.raises(HubError, match="hub cannot be reached for someone/tiny-llama") as caught:
        resolve(REPO)
    assert "starter" in caught.value.hint


def test_download_error_names_offline_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        resolve(REPO)


def test_unknown_model_id_is_named(hub: Hub) -> None:
    with pytest.raises(HubError, match="no model someone/else on the hub, or it is private"):
        resolve("someone/else")


def test_unknown_model_revision_is_named(hub: Hub) -> None:
    with pytest.raises(HubError, match="has no revision v9"):
        resolve(REPO, revision="v9")


def test_gated_model_says_where_to_accept(hub: Hub) -> None:
    hub.gated = True
    with pytest.raises(HubError, match="is gated") as caught:
        resolve(REPO)
    assert f"https://huggingface.co/{REPO}" in caught.value.hint


def test_pickled_weights_are_refused_before_download(hub: Hub) -> None:
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no safetensors weights"):
        resolve(REPO)
    assert not [path for path in hub.paths("GET") if "/resolve/" in path]


def test_cut_download_resumes_where_it_ended(hub: Hub) -> None:
    hub.cuts = [100_000]
    model = resolve(REPO)
    assert read_weights(model.folder) == read_weights(hub.folder)
    assert "bytes=100000-" in [ranged for _, path, ranged in hub.requests if path.endswith(".safetensors")]


def test_interrupted_download_fetches_only_missing_files(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits between its attempts
    hub.cuts = [30_000, *[0] * 20]
    with pytest.raises(HubError, match=r"cannot be reached|not downloaded completely") as caught:
        resolve(REPO)
    assert "again" in caught.value.hint
    hub.cuts = []
    hub.requests.clear()
    model = resolve(REPO)
    assert read_weights(model.folder) == read_weights(hub.folder)
    assert [path for path in hub.paths("GET") if "/resolve/" in path] == [
        f"/{REPO}/resolve/{COMMIT}/model.safetensors"
    ]


def test_small_disk_is_reported_before_download(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda place: full)
    with pytest.raises(MachineError, match="needs"):
        resolve(REPO)


def split(folder: Path, parts: int) -> None:
    """The weights of a model in several files, as large models have them."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    places = {}
    for number in range(parts):
        file = f"model-{number + 1:05}-of-{parts:05}.safetensors"
        chosen = names[number::parts]
        save_file({name: tensors[name] for name in chosen}, folder / file)
        places |= dict.fromkeys(chosen, file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def test_weight_files_come_together(hub: Hub) -> None:
    split(hub.folder, 6)
    hub.hold = threading.Event()

    def progress(note: str, done: int, total: int) -> None:
        if hub.at_work == transfer.STREAMS and hub.hold is not None:
            hub.hold.set()

    model = resolve(REPO, progress=progress)
    assert hub.together == transfer.STREAMS
    assert len(list(model.folder.glob("*.safetensors"))) == 6


def test_stop_is_obeyed_while_the_hub_is_silent(hub: Hub) -> None:
    """Half of the file has come, and the rest does not: what is there stays for the next time."""
    hub.hold = threading.Event()

    def progress(note: str, done: int, total: int) -> None:
        if hub.halfway.is_set():
            raise Stopped

    began = time.monotonic()
    with pytest.raises(Stopped):
        resolve(REPO, progress=progress)
    assert time.monotonic() - began < 20, "the client's own patience is longer"
    hub.hold.set()
    hub.hold = None
    model = resolve(REPO)
    assert read_weights(model.folder) == read_weights(hub.folder)
    assert any(ranged for _, path, ranged in hub.requests if path.endswith(".safetensors"))


def test_busy_hub_is_asked_again(hub: Hub) -> None:
    hub.busy = [429, 503]
    model = resolve(REPO)
    assert read_weights(model.folder) == read_weights(hub.folder)


def test_hub_that_stays_busy_is_told(hub: Hub) -> None:
    hub.busy = [429] * 20
    with pytest.raises(HubError, match="answers 429") as caught:
        resolve(REPO)
    assert "later" in caught.value.hint


def test_error_of_the_hub_costs_nothing_of_what_has_come(hub: Hub) -> None:
    hub.cuts = [100_000]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "ATTEMPTS", 1)
        with pytest.raises(HubError):
            resolve(REPO)
    hub.busy = [502]
    model = resolve(REPO)
    assert read_weights(model.folder) == read_weights(hub.folder)
    assert "bytes=100000-" in [ranged for _, path, ranged in hub.requests if path.endswith(".safetensors")]


def test_mirror_without_checksums_in_its_listing_is_asked_for_each(hub: Hub) -> None:
    hub.says_checksums = False
    hub.damages = True
    with pytest.raises(ModelError, match="not the file it should be"):
        resolve(REPO)
    hub.damages = False
    assert read_weights(resolve(REPO).folder) == read_weights(hub.folder)


def test_weights_damaged_on_the_way_are_not_kept(hub: Hub) -> None:
    hub.damages = True
    with pytest.raises(ModelError, match="is not the file it should be"):
        resolve(REPO)
    hub.damages = False
    assert read_weights(resolve(REPO).folder) == read_weights(hub.folder)


def test_renamed_model_is_found(hub: Hub) -> None:
    hub.former = "someone/old-name"
    model = resolve("someone/old-name")
    assert read_weights(model.folder) == read_weights(hub.folder)
