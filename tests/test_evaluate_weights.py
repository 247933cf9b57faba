"""An evaluation never answers with the weights of another model, and no task is scored with its adapter off."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.backends.torch.causal_lm import TorchModel
from engine.errors import ModelError
from engine.evaluation.files import REPORT, RESULT, ROWS
from engine.jobs import evaluate
from engine.jobs.base import JobContext
from engine.jobs.evaluate import Evaluation
from engine.runs.directory.control import Control
from ft.cli import main
from tests.evaluated import Trained, trained_in
from tests.own_task import own_task


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with trained_in(tmp_path_factory.mktemp("trained"), tiny_model) as run:
        yield run


def _never_off(self: TorchModel) -> Any:
    return _open()


@contextmanager
def _open() -> Iterator[None]:
    yield


def _stays_off(real: Any) -> Any:
    @contextmanager
    def without_adapter(self: TorchModel) -> Iterator[None]:
        block = real(self)
        block.__enter__()
        self.planted = block  # type: ignore[attr-defined]  # else its end would turn the adapter on
        yield

    return without_adapter


def _on_again(real: Any) -> Any:
    @contextmanager
    def without_adapter(self: TorchModel) -> Iterator[None]:
        block = real(self)
        block.__enter__()
        decoder = self.decoder

        def on_again(slots: int) -> Any:
            block.__exit__(None, None, None)
            return decoder(slots)

        self.decoder = on_again  # type: ignore[method-assign]
        yield

    return without_adapter


MISTAKES = {
    "the adapter stays on": (lambda real: _never_off, "the same in every bit"),
    "the adapter stays off": (_stays_off, "did not come on again"),
    "the adapter comes on while the base answers": (_on_again, "came on again"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_answers_of_the_wrong_weights_are_caught(
    mistake: str, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted mistake in turning the adapter off ends the evaluation; no result is left."""
    plant, told = MISTAKES[mistake]
    monkeypatch.setattr(TorchModel, "without_adapter", plant(TorchModel.without_adapter))
    run = Evaluation(str(trained.run.folder), str(trained.rows), ("exact_match",), against="base").create()
    with pytest.raises(ModelError, match=told):
        evaluate.run(JobContext(run, Control(run)))
    assert not any((run.folder / name).exists() for name in (RESULT, ROWS, REPORT))
    assert run.evaluations() == []


def adapter_alone(trained: Trained, folder: Path) -> Path:
    """The run's adapter in a folder of which no run tells, beside the base that it names."""
    (folder / "base").symlink_to(trained.rows.parent / "base")
    return Path(shutil.copytree(trained.run.adapter, folder / "adapter"))


@pytest.mark.slow
def test_tasks_are_scored_without_rows(
    trained: Trained, tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of which no run tells, with an adapter and without; the table of rows is not there."""
    task = str(own_task(folder))
    adapter = adapter_alone(trained, folder)
    for model in (adapter, tiny_model):
        capsys.readouterr()
        assert main(["evaluate", str(model), "--tasks", task, "--json", "--html", "page.html"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [(each["task"], each["metric"]) for each in found["tasks"]] == [("animals", "acc,none")]
        assert (found["metrics"], found["texts"]) == ({}, 0)
        assert "animals" in (folder / "page.html").read_text()
    capsys.readouterr()
    assert main(["evaluate", str(adapter), "--tasks", task, "--against", "base"]) == 0
    shown = capsys.readouterr().out
    assert "animals  acc,none" in shown
    assert "validation loss" not in shown
    assert main(["evaluate", str(trained.run.folder), "--data", str(trained.rows), "--tasks", task]) == 0
    shown = capsys.readouterr().out
    assert "animals  acc,none" in shown, (
        "beside the rows, with a model as it was trained: its rows are packed"
    )
    assert "validation loss" in shown
    assert main(["evaluate", str(adapter), "--tasks", task, "--metrics", "chrf"]) == 2
    assert "--data FILE" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("data", [True, False])
def test_task_is_scored_with_the_adapter_on_for_certain(
    trained: Trained, folder: Path, monkeypatch: pytest.MonkeyPatch, data: bool
) -> None:
    """On the task's rows, and on general ones where there are none."""
    model = trained.run.folder
    if not data:
        model = adapter_alone(trained, folder)
    monkeypatch.setattr(TorchModel, "without_adapter", _never_off)
    rows = str(trained.rows) if data else None
    run = Evaluation(str(model), rows, tasks=str(own_task(folder))).create()
    with pytest.raises(ModelError, match="the same in every bit"):
        evaluate.run(JobContext(run, Control(run)))
    assert not (run.folder / RESULT).exists()
