"""`ft export --format ollama --create NAME`: Ollama hears of a model that is proved and in its place, or of none."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.errors import CheckFailed, MachineError
from engine.export.ollama.create import Creation
from engine.export.output import MARK, read_mark
from engine.jobs import export as jobs
from engine.jobs.base import JobContext, Stopped
from engine.jobs.export import Export
from engine.parity import limits
from engine.runs.directory.control import Control
from engine.runs.directory.run import Run
from ft.cli import main


class Ollama:
    """A program of that name on PATH, which writes down how it was called, and says what the real one says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "calls"
        folder.mkdir()

    def installed(self, code: int = 0, endless: bool = False) -> "Ollama":
        script = self.folder / "ollama"
        end = "import time; time.sleep(3600)" if endless else f"sys.exit({code})"
        script.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            "call = [sys.argv[1:], os.getcwd(), sorted(os.listdir('.')), os.getpid()]\n"
            f"open({str(self.log)!r}, 'a').write(json.dumps(call) + '\\n')\n"
            "sys.stderr.write('gathering model components\\n' * 5000)\n"
            f"sys.stderr.write('Error: \\x1b[31mcould not connect\\x1b[0m\\n' if {code} else 'success\\n')\n"
            f"sys.stderr.flush()\n{end}\n"
        )
        script.chmod(0o755)
        return self

    @property
    def calls(self) -> list[Any]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.is_file() else []


@pytest.fixture
def ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ollama:
    """Where Ollama is to be; not installed yet."""
    made = Ollama(tmp_path / "bin")
    there = [each for each in os.environ["PATH"].split(os.pathsep) if not (Path(each) / "ollama").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join([str(made.folder), *there]))
    return made


def export(model: Path, out: Path) -> None:
    """Do the job in this process."""
    run = Export(str(model), "ollama", out, {"create": "me/tiny:v1"}).create()
    jobs.run(JobContext(run, Control(run)))


@pytest.mark.slow
def test_model_is_created_from_the_proved_folder(
    tiny_model: Path, folder: Path, ollama: Ollama, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("xllamacpp")
    ollama.installed()
    words = ["export", str(tiny_model), "--format", "ollama", "--create", "me/tiny:v1", "--out", "out"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out == f"{folder / 'out'}\n"
    ((command, where, files, _),) = ollama.calls
    assert command == ["create", "me/tiny:v1", "-f", "Modelfile"]
    assert where == str(folder / "out"), "under the name that it keeps"
    assert {MARK, "Modelfile", "README.md"} < set(files), "whole"
    mark = read_mark(folder / "out")
    assert mark is not None
    assert mark["proof"]["passed"]
    assert mark["options"]["create"] == "me/tiny:v1"


@pytest.mark.slow
def test_model_that_is_not_proved_is_not_created(
    tiny_model: Path, folder: Path, ollama: Ollama, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    ollama.installed()
    monkeypatch.setattr(limits, "LIMITS", {"q8_0": (1.0, 0.0), "f16": (1.0, 0.0)})  # that no 8 bits keep
    with pytest.raises(CheckFailed):
        export(tiny_model, folder / "out")
    assert ollama.calls == []
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_failure_of_ollama_keeps_the_folder_and_says_how_to_go_on(
    tiny_model: Path, folder: Path, ollama: Ollama
) -> None:
    """Without its colours."""
    pytest.importorskip("xllamacpp")
    ollama.installed(code=1)
    with pytest.raises(MachineError, match=r"failed: Error: .*could not connect") as caught:
        export(tiny_model, folder / "out")
    assert f"The export is whole in {folder / 'out'}" in caught.value.message
    assert f"cd {folder / 'out'} && ollama create me/tiny:v1 -f Modelfile" in caught.value.hint
    assert "\x1b" not in caught.value.message
    mark = read_mark(folder / "out")
    assert mark is not None
    assert mark["proof"]["passed"]


def test_stop_ends_ollama(folder: Path, ollama: Ollama) -> None:
    ollama.installed(endless=True)

    def stop_once_called() -> None:
        if ollama.calls:
            raise Stopped

    with pytest.raises(Stopped):
        Creation("tiny")(folder, stop_once_called)
    [(_, _, _, pid)] = ollama.calls
    assert not psutil.pid_exists(pid)


def test_ollama_that_does_not_start_is_told(folder: Path, ollama: Ollama) -> None:
    (ollama.folder / "ollama").write_text("#!/nowhere\n")
    (ollama.folder / "ollama").chmod(0o755)
    with pytest.raises(MachineError, match="`ollama create tiny` failed"):
        Creation("tiny")(folder, lambda: None)


def refused(*words: str, code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said to an export that does not begin."""
    assert main(["export", *words]) == code
    assert Run.all() == []
    return capsys.readouterr().err


def test_missing_ollama_is_named_before_any_work(
    tiny_model: Path, folder: Path, ollama: Ollama, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (["--create", "tiny"], ["--set", "create=tiny"]):
        said = refused(str(tiny_model), "--format", "ollama", *option, code=7, capsys=capsys)
        assert "--create: `ollama` is not installed here." in said
        assert "https://ollama.com/download" in said
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["--help", "a b", "a/b/c/d", ""])
def test_name_that_ollama_would_refuse_is_refused(
    name: str, tiny_model: Path, ollama: Ollama, capsys: pytest.CaptureFixture[str]
) -> None:
    ollama.installed()
    said = refused(str(tiny_model), "--format", "ollama", f"--create={name}", code=2, capsys=capsys)
    assert "is not a name of a model" in said


def test_only_ollama_has_models_to_create(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(str(tiny_model), "--format", "gguf", "--create", "tiny", code=2, capsys=capsys)
    assert "Export to gguf makes no model known to another program." in said
