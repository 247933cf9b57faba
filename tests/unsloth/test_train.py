"""`ft train` with `backend: unsloth`: the real command, engine process and files; and exact resume through the loop."""

import json
import shutil
from pathlib import Path

import pytest
import tokenizers
from safetensors.numpy import load_file

from engine.runs.directory import events as ev
from engine.runs.directory.run import Run
from tests.terminal import ft
from tests.test_resume import WEIGHTS, run_to_the_end
from tests.training import Job, recipe_text, write_rows


def recipe(folder: Path, model: Path, backend: str) -> Path:
    """The small recipe of the tests, in fp32 and without dropout, for a backend."""
    folder.mkdir()
    sections = {"adapter": {"dropout": 0.0}, "training": {"precision": "fp32"}, "data": {"packing": False}}
    body = json.loads(recipe_text(model, write_rows(folder), **sections)) | {"backend": backend}
    file = folder / "train.yml"
    file.write_text(json.dumps(body))
    return file


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Run]:
    """A finished run of the same recipe by backend."""
    folder = tmp_path_factory.mktemp("trained")
    found = {}
    for backend in ("unsloth", "peft"):
        home = folder / f"home-{backend}"
        done = ft("train", recipe(folder / backend, tiny_model, backend), FT_HOME=str(home))
        assert done.returncode == 0, done.stderr
        found[backend] = Run(next((home / "runs").iterdir()))
    return found


def test_run_looks_like_torch_backend_run(runs: dict[str, Run]) -> None:
    ours, theirs = runs["unsloth"], runs["peft"]
    assert ours.plan is not None
    assert ours.plan.backend == "unsloth"
    by_the_clock = (ev.Phase, ev.Memory)
    told = [
        [type(event) for event in run.events() if not isinstance(event, by_the_clock)]
        for run in (ours, theirs)
    ]
    assert told[0] == told[1]
    files = [
        {path.relative_to(run.folder) for path in run.folder.rglob("*") if path.is_file()}
        for run in (ours, theirs)
    ]
    assert files[0] == files[1]


def test_both_learn_the_same(runs: dict[str, Run]) -> None:
    losses = {
        backend: [event.loss for event in run.events() if isinstance(event, ev.Step | ev.Eval)]
        for backend, run in runs.items()
    }
    assert len(losses["unsloth"]) > 6
    assert losses["unsloth"] == pytest.approx(losses["peft"], rel=1e-3)
    one, two = (load_file(run.adapter / "adapter_model.safetensors") for run in runs.values())
    assert {name: value.shape for name, value in one.items()} == {
        name: value.shape for name, value in two.items()
    }


def test_unsloth_came_in_before_what_it_replaces(runs: dict[str, Run]) -> None:
    log = (runs["unsloth"].folder / "worker.log").read_text()
    assert "Unsloth" in log
    assert "should be imported before" not in log


def test_unsloth_is_imported_before_transformers(tiny_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    tokenizers.Tokenizer.from_file(str(model / "tokenizer.json")).model.save(str(model))
    (model / "tokenizer.json").unlink()
    about = json.loads((model / "tokenizer_config.json").read_text()) | {"tokenizer_class": "GPT2Tokenizer"}
    (model / "tokenizer_config.json").write_text(json.dumps(about))
    home = tmp_path / "home"
    done = ft("train", recipe(tmp_path / "recipe", model, "unsloth"), FT_HOME=str(home))
    assert done.returncode == 0, done.stderr
    log = (next((home / "runs").iterdir()) / "worker.log").read_text()
    assert "Unsloth" in log
    assert "should be imported before" not in log


@pytest.fixture(scope="module")
def unbroken(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(tmp_path_factory.mktemp("home")))
        return run_to_the_end(tiny_model, tmp_path_factory.mktemp("unbroken") / "run", backend="unsloth")[0]


@pytest.mark.parametrize("stops", [(3,), (11,), (8, 8, 8)], ids=lambda stops: "-".join(map(str, stops)))
def test_resumed_run_writes_same_adapter_bytes(
    unbroken: Job, tiny_model: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    job, stopped_at = run_to_the_end(tiny_model, tmp_path / "run", stops, backend="unsloth")
    assert stopped_at
    assert (job.run.folder / WEIGHTS).read_bytes() == (unbroken.run.folder / WEIGHTS).read_bytes()
