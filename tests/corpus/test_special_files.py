"""Pipes and devices with the names of files: refused before they are opened, wherever a file may stand."""

import os
import shutil
from pathlib import Path

import pytest

from engine.config.load import load_text
from engine.errors import ModelError
from engine.models import adapter_files
from engine.models.local import check
from engine.runs.directory.create import create_run
from engine.storage.regular_files import NotRegularError, open_binary, open_handle
from tests.corpus.commands import assert_all_well, run_all
from tests.training import recipe_text, write_rows

REFUSED = {"pipe": "a named pipe", "device": "a device"}
NEEDED = ("events.jsonl", "lock", "train.yml", "worker.log")
"""Files of a run without which it cannot go on."""


def put(kind: str, path: Path) -> Path:
    """A pipe that nobody writes to, or a link to a device that never ends."""
    path.unlink(missing_ok=True)
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    return path


@pytest.fixture(scope="module")
def weights(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(tiny_model, tmp_path_factory.mktemp("model") / "m")


@pytest.mark.slow
def test_pipes_and_devices_block_no_command(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path)
    plain = tmp_path / "train.yml"
    plain.write_text(recipe_text(tiny_model, rows))
    commands: list[tuple[list[str | Path], int, str]] = []
    for kind, said in REFUSED.items():
        folder = tmp_path / kind
        folder.mkdir()
        for ending in ("jsonl", "json", "txt", "csv", "parquet", "jsonl.gz"):
            data = put(kind, folder / f"rows.{ending}")
            commands.append((["data", "check", data, "--model", tiny_model], 3, said))
        recipe = folder / "pipe.yml"
        recipe.write_text(recipe_text(tiny_model, folder / "rows.jsonl"))
        commands.append((["train", recipe], 3, said))
        commands.append((["validate", put(kind, folder / "train.yml")], 7, said))
        commands.append((["plan", folder / "train.yml"], 7, said))
        for name in ("config.json", "generation_config.json", "tokenizer_config.json", "model.safetensors"):
            model = shutil.copytree(tiny_model, folder / name.partition(".")[0])
            put(kind, model / name)
            commands.append((["models", "show", model], 4, said))
            commands.append((["plan", plain, "--set", f"model.base={model}"], 4, said))
        commands.append(
            (["plan", plain, "--set", f"model.chat_template={put(kind, folder / 'a.jinja')}"], 2, said)
        )
        commands.append((["init", "--list"], 0, ""))
    outcomes = run_all([(argv, None) for argv, _, _ in commands])
    assert_all_well(outcomes)
    for outcome, (_, code, said) in zip(outcomes, commands, strict=True):
        assert outcome.code == code, outcome
        assert said in outcome.err, outcome


@pytest.mark.slow
def test_damaged_run_hides_no_other_run(tiny_model: Path, ft_home: Path, tmp_path: Path) -> None:
    recipe = load_text(recipe_text(tiny_model, write_rows(tmp_path)), tmp_path / "train.yml")
    whole = create_run(recipe)
    damaged: dict[str, str] = {}
    for kind in REFUSED:
        for name in (*NEEDED, "source.yml", "provenance.json", "plan.json"):
            run = create_run(recipe)
            put(kind, run.folder / name)
            damaged[run.id] = name
        put(kind, ft_home / "runs" / f"pointer-{kind}")
    commands = [["runs", "list"], ["runs", "list", "--json"]]
    for name in damaged:
        commands += [["runs", "show", name], ["runs", "compare", name, whole.id], ["attach", name]]
        commands.append(["stop", name])
    needed = [name for name, broken in damaged.items() if broken in NEEDED]
    commands += [
        [*argv, name] for name in needed for argv in (["train", "--resume"], ["generate", "--prompt", "x"])
    ]
    outcomes = run_all([(argv, None) for argv in commands])
    assert_all_well(outcomes)
    assert whole.id in outcomes[0].out
    assert outcomes[0].code == outcomes[1].code == 0


def test_links_to_regular_files_are_read(tiny_model: Path, tmp_path: Path) -> None:
    """The hub's cache is made of them."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in tiny_model.iterdir():
        (linked / path.name).symlink_to(path)
    check(linked)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    with pytest.raises(NotRegularError, match="a named pipe"):
        open_binary(put("pipe", tmp_path / "pipe"))
    with pytest.raises(NotRegularError, match="a device"):
        open_handle(put("device", tmp_path / "device"), os.O_RDWR | os.O_CREAT)
    with pytest.raises(IsADirectoryError):
        open_binary(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_binary(tmp_path / "nothing")
    os.close(open_handle(tmp_path / "new", os.O_RDWR | os.O_CREAT))


def test_adapter_folder_with_pipe_is_refused_early(tmp_path: Path) -> None:
    put("pipe", tmp_path / "adapter_config.json")
    with pytest.raises(ModelError, match=r"adapter_config\.json cannot be used: it is a named pipe"):
        adapter_files.check(tmp_path)
