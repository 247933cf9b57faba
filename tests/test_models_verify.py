"""`ft models verify`: damage on the disk is found without network, and mended by fetching what is damaged."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import paths
from engine.models import hub as hub_models
from engine.models.verification import checksum_in
from ft.cli import main
from tests.hub_server import Hub, serving, use_hub
from tests.test_models_hub import REPO


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(REPO, tiny_model)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        assert main(["models", "pull", REPO]) == 0
        yield hub


def states(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    return {file["name"]: file["state"] for file in json.loads(capsys.readouterr().out)["files"]}


def cached(name: str) -> Path:
    folder = hub_models.cached(REPO)
    assert folder is not None
    return folder / name


def change_a_byte(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.resolve().write_bytes(data)


def test_pulled_model_is_as_published(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    asked = len(hub.requests)
    capsys.readouterr()
    assert main(["models", "verify", REPO, "--json"]) == 0
    found = states(capsys)
    assert found["model.safetensors"] == found["config.json"] == "as published"
    assert len(hub.requests) == asked, "the hub is not asked"


def test_changed_bit_is_found_and_fetched_again(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """No header and no NaN shows it."""
    weights = cached("model.safetensors")
    whole = weights.read_bytes()
    change_a_byte(weights, -5)
    assert main(["models", "verify", REPO]) == 4
    told = capsys.readouterr()
    assert "1 of" in told.err
    assert f"ft models verify {REPO} --drop" in told.err
    assert "damaged: its sha256 is" in told.out
    assert main(["models", "verify", REPO, "--drop"]) == 0
    assert not weights.exists()
    assert main(["models", "pull", REPO]) == 0
    assert weights.read_bytes() == whole
    assert main(["models", "verify", REPO]) == 0


def test_missing_file_is_named(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    cached("tokenizer.json").unlink()
    assert main(["models", "verify", REPO]) == 4
    told = capsys.readouterr().err
    assert "has no tokenizer" in told
    assert f"ft models pull {REPO}" in told


@pytest.mark.parametrize("damage", ["cut", "nan"])
def test_damaged_folder_is_found_by_what_it_shows(
    damage: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shutil.copytree(tiny_model, paths.models() / "mine") / "model.safetensors"
    assert main(["models", "verify", "mine"]) == 0
    data = weights.read_bytes()
    weights.write_bytes(data[:-9] if damage == "cut" else data[:-4] + b"\x00\x00\xc0\x7f")
    assert main(["models", "verify", "mine"]) == 4
    told = capsys.readouterr()
    assert "model.safetensors" in told.out
    assert "damaged: " in told.out
    assert "Copy them from their source again" in told.err
    assert main(["models", "verify", "mine", "--drop"]) == 4, "there is nothing to fetch them from"
    assert weights.exists()


def test_small_file_of_hub_has_hash_of_git(tmp_path: Path) -> None:
    """Git names a file by the hash of its length and content; `git hash-object` gives this one."""
    from engine.models.verification import Checked, check_file

    text = b"what is up, doc?"
    name = "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "blobs" / name).write_bytes(text)
    link = tmp_path / "snapshot/config.json"
    link.symlink_to(tmp_path / "blobs" / name)
    assert checksum_in(name) == "git hash"
    assert checksum_in(hashlib.sha256(text).hexdigest()) == "sha256"
    assert checksum_in("config.json") is None
    seen: list[int] = []
    assert check_file(link, link.parent, seen.append) == Checked("config.json", 16, "as published")
    assert seen == [16]
