"""Local models: what is wrong with a folder is said in one message with a hint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.models.resolve import resolve


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def shard(folder: Path) -> None:
    """Split the weights in two files with an index, as large models have them."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places: dict[str, str] = {}
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, folder / file)
        places |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def without(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def with_file(name: str, text: str, *gone: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        without(*gone)(folder)
        (folder / name).write_text(text)

    return spoil


def cut_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def cut_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:200])


def lose_a_shard(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def become_an_adapter(folder: Path) -> None:
    without("config.json")(folder)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')


BAD: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no config": (without("config.json"), "has no config.json", "model's own folder"),
    "config is not JSON": (with_file("config.json", '{\n "a": }'), r"config.json:2:7 is not JSON", "damaged"),
    "config is a list": (with_file("config.json", "[]"), "is not a JSON object", "damaged"),
    "config is empty": (with_file("config.json", ""), r"config.json:1:1 is not JSON", "damaged"),
    "no weights": (without("model.safetensors"), "has no weights", "safetensors"),
    "no tokenizer": (without("tokenizer.json"), "has no tokenizer", "Copy the tokenizer"),
    "weights cut off": (cut_weights, r"is cut off: it has [\d,]+ bytes of [\d,]+", "again"),
    "header cut off": (cut_header, "not a whole safetensors file", "again"),
    "weights are text": (
        with_file("model.safetensors", "version https://git-lfs"),
        "not a whole safetensors",
        "again",
    ),
    "weights are empty": (with_file("model.safetensors", ""), "not a whole safetensors file", "again"),
    "a shard is missing": (lose_a_shard, "lacks 1 of its 2 weight files: model-00002", "not finished"),
    "an empty index": (
        with_file("model.safetensors.index.json", "{}", "model.safetensors"),
        "has no weight_map",
        "again",
    ),
    "pickled weights": (
        with_file("pytorch_model.bin", "x", "model.safetensors"),
        "only pickled",
        "--allow-pickle",
    ),
    "GGUF weights": (
        with_file("model.gguf", "GGUF", "model.safetensors"),
        "only GGUF weights",
        "safetensors format",
    ),
    "an adapter": (
        become_an_adapter,
        "is an adapter, not a whole model; it was trained on someone/base",
        "base",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_model_folder_gets_one_message(case: str, model: Path) -> None:
    spoil, message, hint = BAD[case]
    spoil(model)
    with pytest.raises(ModelError, match=message) as caught:
        resolve(str(model))
    assert str(model) in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("./nowhere", r"There is no folder .*nowhere"),
        ("/no/such/folder", "There is no folder /no/such/folder"),
        ("a/b/c", r"There is no folder .*a/b/c"),
        ("some model", r"There is no folder .*some model"),
        ("model.gguf", "is a GGUF file"),
        ("stater", "There is no model stater"),
    ],
)
def test_base_naming_no_model_is_refused(base: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        resolve(base)
    assert caught.value.hint


def test_single_file_is_no_model(model: Path) -> None:
    with pytest.raises(ModelError, match="is a file, not a model's folder") as caught:
        resolve(str(model / "model.safetensors"))
    assert str(model) in caught.value.hint


def test_revision_of_local_model_is_refused(model: Path) -> None:
    with pytest.raises(ModelError, match="has no revision main"):
        resolve(str(model), revision="main")


def test_model_may_be_file_or_shards(model: Path) -> None:
    assert resolve(str(model)).folder == model
    shard(model)
    assert resolve(str(model)).name == "model"


def test_model_fingerprint_changes_with_weights(model: Path, tmp_path: Path) -> None:
    """Trained weights are told from untrained ones."""
    first = resolve(str(model)).fingerprint
    copied = shutil.copytree(model, tmp_path / "other-name")
    assert resolve(str(copied)).fingerprint == first
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    changed = resolve(str(model)).fingerprint
    config = json.loads((copied / "config.json").read_text()) | {"rope_theta": 5.0}
    (copied / "config.json").write_text(json.dumps(config))
    assert len({first, changed, resolve(str(copied)).fingerprint}) == 3


def test_model_fingerprint_covers_named_chat_templates(model: Path) -> None:
    found = {resolve(str(model)).fingerprint}
    for name in ("tool_use", "rag"):
        path = model / "additional_chat_templates" / f"{name}.jinja"
        path.parent.mkdir(exist_ok=True)
        path.write_text("{{ messages }}")
        found.add(resolve(str(model)).fingerprint)
    assert len(found) == 3


def test_starter_resolves_by_name(ft_home_with_starter: Path) -> None:
    model = resolve("starter")
    assert model.name == "starter"
    assert model.folder == ft_home_with_starter / "models" / "starter"
