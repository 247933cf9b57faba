"""Code that comes with a model, or from the hub, is neither run nor asked about unless the recipe says so."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import ModelError
from engine.models import adapter_files
from ft.cli import main
from tests.terminal import Terminal
from tests.training import recipe_text, write_rows

CODE = "import pathlib\npathlib.Path({marker!r}).touch()\n"


def with_own_tokenizer(tiny_model: Path, folder: Path, marker: Path) -> Path:
    """The tiny model with a vocabulary that only its own code can read."""
    shutil.copytree(tiny_model, folder)
    (folder / "tokenizer.json").rename(folder / "vocab.txt")
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "tokenizer.model").write_bytes(b"not a model of sentencepiece")
    return folder


def with_own_architecture(tiny_model: Path, folder: Path, marker: Path) -> Path:
    """The tiny model under an architecture that only its own code knows."""
    shutil.copytree(tiny_model, folder)
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
def test_tokenizer_code_never_runs_or_asks(tiny_model: Path, tmp_path: Path) -> None:
    """On a terminal, where transformers would ask, and wait for an answer."""
    marker = tmp_path / "ran"
    model = with_own_tokenizer(tiny_model, tmp_path / "model", marker)
    rows = write_rows(tmp_path)
    terminal = Terminal("data", "preview", rows, "--model", model)
    terminal.press(b"y\ny\ny\n")
    assert terminal.end() == 4
    assert "[y/N]" not in terminal.shown
    assert not marker.exists()


def test_tokenizer_code_is_refused_at_once(tiny_model: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    model = with_own_tokenizer(tiny_model, tmp_path / "model", marker)
    with pytest.raises(ModelError, match="none could be made"):
        Tokenizer.load(model)
    assert not marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "generate"])
def test_model_code_runs_only_if_recipe_allows(
    command: str, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from engine.config.load import load_text
    from engine.runs.directory.create import create_run

    marker = tmp_path / "ran"
    model = with_own_architecture(tiny_model, tmp_path / "model", marker)
    recipe = tmp_path / "train.yml"
    recipe.write_text(recipe_text(model, write_rows(tmp_path)))
    if command == "train":
        assert main(["train", str(recipe)]) == 4
    else:
        run = create_run(load_text(recipe.read_text(), recipe))
        assert main(["generate", run.id, "--base", "--prompt", "x"]) == 4
    said = capfd.readouterr().err
    assert "[y/N]" not in said
    assert not marker.exists()


def test_adapter_names_no_module_to_import(tmp_path: Path) -> None:
    """PEFT imports what `megatron_core` names, whatever module that is."""
    settings = {"peft_type": "LORA", "megatron_config": {"a": 1}, "megatron_core": "antigravity"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="Megatron"):
        adapter_files.check(tmp_path)


@pytest.mark.slow
def test_libraries_fetch_no_code_from_hub(tmp_path: Path) -> None:
    """Also where the package `kernels` is installed, which fetches it: here a stand-in that records a call."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text(
        "import pathlib, socket\n"
        f"def get_kernel(*_, **__):\n    pathlib.Path({str(tmp_path / 'asked')!r}).touch()\n    raise OSError\n"
    )
    (tmp_path / "kernels-0.16.0.dist-info").mkdir()
    (tmp_path / "kernels-0.16.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: kernels\nVersion: 0.16.0\n"
    )
    program = """
import socket
def connect(self, *_): raise AssertionError("a socket was opened")
socket.socket.connect = connect
from engine.process.worker import settle_libraries
settle_libraries()
import bitsandbytes, transformers
from transformers.integrations.hub_kernels import is_kernels_available
assert not is_kernels_available()
"""
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "asked").exists()
