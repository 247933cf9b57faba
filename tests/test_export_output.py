"""The folder that an export is written to: nothing of a person's is replaced, and a kill leaves the earlier export."""

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.export.output import MARK, Output, read_mark


def test_only_exports_and_empty_folders_are_replaced(tmp_path: Path) -> None:
    out = Output(tmp_path / "out", "1")
    out.check(force=False)
    out.out.mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        out.check(force=False)
    out.check(force=True)
    (out.out / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="was not made by an export"):
        out.check(force=True)
    (out.out / MARK).write_text('{"format": "mlx"}')
    out.check(force=True)
    (tmp_path / "link").symlink_to(out.out)
    with pytest.raises(ConfigError, match="is not a folder"):
        Output(tmp_path / "link", "1").check(force=True)
    with pytest.raises(ConfigError, match="is not a folder"):
        Output(out.out / MARK, "1").check(force=True)


def test_what_appears_while_exporting_is_not_replaced(tmp_path: Path) -> None:
    out = Output(tmp_path / "out", "1")
    out.making.mkdir()
    out.out.mkdir()
    (out.out / "thesis.txt").touch()
    for force in (False, True):
        with pytest.raises(ConfigError):
            out.place({"format": "mlx"}, force)
    assert [path.name for path in out.out.iterdir()] == ["thesis.txt"]


def test_kill_between_renames_brings_earlier_export_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Output(tmp_path / "out", "1")
    first.making.mkdir()
    first.place({"format": "mlx", "made": 1}, force=False)
    second = Output(tmp_path / "out", "2")
    second.making.mkdir()
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path == second.making:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        second.place({"format": "mlx", "made": 2}, force=True)
    assert not first.out.exists(), "the earlier one is out of the way"
    monkeypatch.undo()
    second.clean_up()
    assert read_mark(first.out) == {"format": "mlx", "made": 1}
    assert list(tmp_path.iterdir()) == [first.out]
