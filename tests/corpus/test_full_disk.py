"""A disk that is full: the message names the file, and nothing half made is left. A limit of file sizes stands in."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal import FT
from tests.training import recipe_text, write_rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE raises a signal elsewhere")


def limited(size: int, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `ft` where no file may grow beyond so many bytes."""
    return subprocess.run(
        [*FT, *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def test_init_leaves_no_empty_recipe(tmp_path: Path) -> None:
    done = limited(100, "init", tmp_path / "new.yml")
    assert done.returncode == 7
    assert str(tmp_path / "new.yml") in done.stderr
    assert not list(tmp_path.glob("*new*"))


def test_init_keeps_old_recipe_on_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "train.yml"
    path.write_text("mine\n")
    assert limited(100, "init", path, "--force").returncode == 7
    assert path.read_text() == "mine\n"


def test_prepare_leaves_no_partial_dataset(tmp_path: Path) -> None:
    rows = write_rows(tmp_path)
    done = limited(200, "data", "prepare", rows, "--out", tmp_path / "out")
    assert done.returncode == 7
    assert str(tmp_path / "out") in done.stderr
    assert not (tmp_path / "out").exists()


def test_unwritable_run_is_not_left_behind(tiny_model: Path, ft_home: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "train.yml"
    recipe.write_text(recipe_text(tiny_model, write_rows(tmp_path)))
    elsewhere = tmp_path / "run"
    for more in ([], ["--run-dir", str(elsewhere)]):
        done = limited(300, "train", recipe, *more)
        assert done.returncode == 7, done.stderr
        assert "provenance.json" in done.stderr or "source.yml" in done.stderr  # whichever is the longer here
        assert not list((ft_home / "runs").iterdir())
    assert not elsewhere.exists()
