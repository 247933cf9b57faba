"""Commands, exporters and trackers of other packages: found by entry points, imported only when used."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import plugins
from engine.errors import ConfigError, MachineError
from engine.export.registry import OWN, exporter_named, exporter_names
from engine.runs.directory.events import Finished, Started, Step
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from engine.trackers.base import track, tracker_named, tracker_names
from tests.plugin_package import ft, install
from tests.replay.__main__ import RECORDED

MODULE = '''
import typer
from pathlib import Path

from engine.export.base import Exporter
from engine.trackers.base import Tracker


def hello(name: str = "you") -> None:
    """Say hello."""
    print(f"hello {name}")


group = typer.Typer(help="Two commands.")
group.command("one")(hello)
group.command("two")(hello)


def write(model, out, options, heartbeat):
    heartbeat()
    names = sorted(path.name for path in model.base_folder().iterdir())
    (out / "names.txt").write_text("\\n".join(names) + options["end"])
    return {"files": 1}


class Lines:
    def __init__(self, run, options):
        self.file = Path(options["file"]).open("w")

    def take(self, event):
        self.file.write(type(event).__name__ + "\\n")

    def close(self):
        self.file.close()


names = Exporter("names", write)
far = Exporter("far", "no.such:thing", needs=("no_such_module",), install="pip install no-such")
lines = Tracker("lines", Lines)
wrong = 3
'''
ENTRIES = {
    plugins.COMMANDS: {
        "hello": "ft_more:hello",
        "greet": "ft_more:group",
        "plan": "ft_more:hello",
        "gone": "ft_absent:gone",
    },
    plugins.EXPORTERS: {name: f"ft_more:{name}" for name in ("names", "far", "wrong")},
    plugins.TRACKERS: {name: f"ft_more:{name}" for name in ("lines", "wrong")},
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "packages"
    install(folder, "ft_more", MODULE, ENTRIES, summary="Says hello.")
    monkeypatch.syspath_prepend(str(folder))
    plugins.installed.cache_clear()
    yield folder
    plugins.installed.cache_clear()


def test_help_lists_plugin_command_without_import(packages: Path, tmp_path: Path) -> None:
    (packages / "ft_more.py").write_text("raise SystemExit('imported')")
    done = ft(packages, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "hello     Says hello." in done.stdout
    assert done.stdout.count("\n  plan ") == 1


def test_plugin_function_and_group_run_as_commands(packages: Path, tmp_path: Path) -> None:
    assert ft(packages, tmp_path, "hello", "--name", "Ada").stdout == "hello Ada\n"
    assert ft(packages, tmp_path, "greet", "two").stdout == "hello you\n"
    assert "Say hello." in ft(packages, tmp_path, "hello", "--help").stdout


def test_built_in_command_wins_over_plugin(packages: Path, tmp_path: Path) -> None:
    assert "Say what a recipe" in ft(packages, tmp_path, "plan", "--help").stdout


def test_unloadable_command_error_names_package(packages: Path, tmp_path: Path) -> None:
    done = ft(packages, tmp_path, "gone")
    assert done.returncode == MachineError.exit_code
    assert "command: gone does not load" in done.stderr
    assert "Install the package ft_more again." in done.stderr
    assert "Did you mean 'hello'?" in ft(packages, tmp_path, "helo").stderr


@pytest.mark.usefixtures("packages")
def test_exporter_writes_folder_and_returns_facts(tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    for folder in (model, out):
        folder.mkdir()
    (model / "config.json").write_text("{}")
    beats: list[int] = []
    written = exporter_named("names").export(TrainedModel(model), out, {"end": "!"}, lambda: beats.append(1))
    assert (written, beats, (out / "names.txt").read_text()) == ({"files": 1}, [1], "config.json!")


@pytest.mark.usefixtures("packages")
def test_unusable_exporter_says_what_to_do(tmp_path: Path) -> None:
    assert exporter_names() == (*OWN, "far", "names", "wrong")
    with pytest.raises(MachineError, match="Export to far needs no_such_module") as missing:
        exporter_named("far").export(TrainedModel(tmp_path), tmp_path, {}, lambda: None)
    assert missing.value.hint == "pip install no-such"
    with pytest.raises(ConfigError, match="There is no exporter 'onnx'"):
        exporter_named("onnx")
    with pytest.raises(MachineError, match=r"wrong names int, not an engine\.export\.base\.Exporter"):
        exporter_named("wrong")


@pytest.mark.slow
def test_built_in_exporter_writes_mlx_folder(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    written = exporter_named("mlx").export(TrainedModel(tiny_model), tmp_path, {}, lambda: None)
    assert written == {"quantization": None, "notes": []}
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "llama"
    with pytest.raises(ConfigError, match="no option bits"):
        exporter_named("mlx").export(TrainedModel(tiny_model), tmp_path, {"bits": 4}, lambda: None)


@pytest.mark.usefixtures("packages")
def test_tracker_gets_every_event_of_run(tmp_path: Path) -> None:
    """Here it is a run that has ended."""
    run = Run(Path(shutil.copytree(RECORDED / "run", tmp_path / "run")))
    assert tracker_names() == ("lines", "wrong")
    track(run, tracker_named("lines"), {"file": str(tmp_path / "seen")})
    seen = (tmp_path / "seen").read_text().splitlines()
    assert seen == [type(event).__name__ for event in run.events()]
    assert {Started.__name__, Step.__name__, Finished.__name__} <= set(seen)


@pytest.mark.usefixtures("packages")
def test_unusable_tracker_says_so() -> None:
    with pytest.raises(ConfigError, match="There is no tracker 'wandb'"):
        tracker_named("wandb")
    with pytest.raises(MachineError, match="wrong names int"):
        tracker_named("wrong")
