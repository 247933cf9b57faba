"""Pickled weights: refused unless a person allows them, read in a process of their own, kept as safetensors."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine import paths
from engine.errors import ModelError
from engine.jobs.base import Stopped
from engine.models import pickled
from engine.models.resolve import resolve
from engine.models.starter import silent
from ft.cli import main
from tests.hub_server import Hub, serving, use_hub

REPO = "someone/old-llama"


@pytest.fixture
def published(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model as it would have been published years ago."""
    folder = shutil.copytree(tiny_model, tmp_path / "old-llama")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(REPO, published)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        yield hub


def same_weights(left: Path, right: Path) -> None:
    one, other = (
        {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
        for folder in (left, right)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_pickled_hub_model_is_kept_as_safetensors(
    hub: Hub, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", REPO]) == 4
    assert f"ft models pull {REPO} --allow-pickle" in capsys.readouterr().err
    assert main(["models", "pull", REPO, "--allow-pickle"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder == paths.models() / "old-llama"
    same_weights(folder, tiny_model)
    assert not list(folder.rglob("*.bin"))
    assert resolve(str(folder)).name == "old-llama"
    assert [path.name for path in paths.models().iterdir() if path.name.startswith(".")] == [
        ".old-llama.lock"
    ]
    assert main(["models", "pull", REPO, "--allow-pickle"]) == 0, "there already"


def test_local_folder_of_several_files_with_tied_weights(
    published: Path, tiny_model: Path, ft_home: Path
) -> None:
    tensors = torch.load(published / "pytorch_model.bin", weights_only=True)
    (published / "pytorch_model.bin").unlink()
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]  # one tensor under two names
    names = sorted(tensors)
    for number in (1, 2):
        part = {name: tensors[name] for name in names if (name < "model.layers.1") == (number == 1)}
        torch.save(part, published / f"pytorch_model-0000{number}-of-00002.bin")
    with pytest.raises(ModelError, match="only pickled weights") as caught:
        resolve(str(published))
    assert f"ft models pull {published} --allow-pickle" in caught.value.hint
    folder = pickled.pull(str(published), None, silent)
    places = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert sorted(places) == names
    assert torch.equal(
        load_file(folder / places["lm_head.weight"])["lm_head.weight"],
        load_file(tiny_model / "model.safetensors")["model.embed_tokens.weight"],
    )
    assert resolve(str(folder)).folder == folder


class Runs:
    """What a pickle may hold: a call, of a harmless function here, that unpickling would make."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


def test_pickle_that_would_run_code_is_refused(published: Path, tmp_path: Path, ft_home: Path) -> None:
    torch.save({"weight": torch.zeros(2), "more": Runs(tmp_path / "it-ran")}, published / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds more than weights"):
        pickled.pull(str(published), None, silent)
    assert not (tmp_path / "it-ran").exists()
    assert not (paths.models() / "old-llama").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04torn", b"PK\x03\x04torn"])
def test_damaged_pickle_is_told(published: Path, ft_home: Path, content: bytes) -> None:
    (published / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is damaged"):
        pickled.pull(str(published), None, silent)


def test_something_else_than_tensors_is_told(published: Path, ft_home: Path) -> None:
    torch.save({"epoch": 3}, published / "pytorch_model.bin")
    with pytest.raises(ModelError, match="something else than tensors"):
        pickled.pull(str(published), None, silent)


def test_stop_leaves_no_model_and_the_next_try_finds_what_was_fetched(hub: Hub, tiny_model: Path) -> None:
    def stop(note: str, done: int, total: int) -> None:
        if note == pickled.CONVERTING:
            raise Stopped

    with pytest.raises(Stopped):
        pickled.pull(REPO, None, stop)
    assert not (paths.models() / "old-llama").exists()
    fetched = hub.sent
    same_weights(pickled.pull(REPO, None, silent), tiny_model)
    assert hub.sent - fetched < (hub.folder / "pytorch_model.bin").stat().st_size


def test_model_without_pickles_is_told(tiny_model: Path, ft_home: Path) -> None:
    with pytest.raises(ModelError, match="no pickled weights"):
        pickled.pull(str(tiny_model), None, silent)
