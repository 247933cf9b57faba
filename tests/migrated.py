"""Recipes out of other tools' files, as `ft init --from` writes and reports them."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import Recipe, load_recipe
from engine.config.schema import TrainConfig
from ft.cli import main


def made(name: str, text: str, folder: Path, *words: str) -> TrainConfig:
    """The recipe of a file of that text, in a folder beside the file's."""
    return recipe(name, text, folder, *words).config


def recipe(name: str, text: str, folder: Path, *words: str) -> Recipe:
    for name_of_folder in ("ours", "theirs"):
        (folder / name_of_folder).mkdir(exist_ok=True)
    (folder / "theirs" / name).write_text(text, encoding="utf-8")
    assert main(["init", "ours", "--from", f"theirs/{name}", *words]) == 0
    return load_recipe(folder / "ours" / "train.yml")


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    body = json.loads(capsys.readouterr().out)
    assert isinstance(body, dict)
    return body


def without_equal(body: dict[str, Any]) -> dict[str, str]:
    """What happens instead, by each of their keys that has no equal."""
    return {key: one["instead"] for one in body["no_equal"] for key in one["source"]}
