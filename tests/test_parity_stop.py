"""A proof stops within a request to llama.cpp, a chunk of a row or a layer, and nothing is left of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from engine.export.registry import OWN
from engine.jobs.base import Stopped
from engine.parity import llama_cpp, llama_cpp_process, mlx_model, torch_model
from engine.parity.exported import Exported, Probe
from engine.runs.directory.events import Phase
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

pytestmark = pytest.mark.slow
ROW = (Probe(np.arange(3, 203, dtype=np.int32), np.array([180, 190, 199], np.int32)),)
PATIENCE_S = 120


class Stop:
    """A heartbeat that stops the proof once it is armed, at the given call from then on."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise Stopped


def exported(model: Path, out: Path, form: str) -> dict[str, Any]:
    out.mkdir()
    return dict(OWN[form].export(TrainedModel(model), out, {}, lambda: None))


@pytest.fixture
def stop() -> Stop:
    return Stop()


def test_stop_does_not_wait_for_llama_cpp(tiny_model: Path, tmp_path: Path, stop: Stop) -> None:
    """It is obeyed within one request: this llama.cpp never answers."""
    pytest.importorskip("xllamacpp")
    facts = exported(tiny_model, tmp_path / "out", "gguf")
    with llama_cpp.open_model(TrainedModel(tiny_model), tmp_path / "out", facts, stop) as found:
        process = psutil.Process(found.process.pid)
        process.suspend()
        stop.left = 3
        with pytest.raises(Stopped):
            found.next_tokens(ROW)
    assert not process.is_running()


@pytest.mark.parametrize("form", ["mlx", "merged"])
def test_stop_is_obeyed_within_a_row(form: str, tiny_model: Path, tmp_path: Path, stop: Stop) -> None:
    openers: dict[str, Callable[..., Any]] = {
        "mlx": mlx_model.open_folder,
        "merged": torch_model.open_folder,
    }
    if OWN[form].missing():
        pytest.skip(f"{form} is not installed")
    facts = exported(tiny_model, tmp_path / "out", form)
    with openers[form](TrainedModel(tiny_model), tmp_path / "out", facts, stop) as found:
        own: Exported = found
        before = stop.calls
        assert own.next_tokens(ROW).logps.shape[0] == 3
        assert stop.calls - before >= 2, "in chunks of 64 tokens, or before each of 2 layers"
        stop.left = 2
        with pytest.raises(Stopped):
            own.next_tokens(ROW)


def wait_for(what: Callable[[], Any]) -> Any:
    """The first answer that is not empty."""
    end = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def asked(run: Run) -> bool:
    """Return True once the exported model is asked for its answers."""
    notes = [event.note for event in run.events() if isinstance(event, Phase)]
    return "asking the exported model" in notes


def llama_cpp_here() -> psutil.Process | None:
    """The llama.cpp of this test's home."""
    for process in psutil.process_iter(["cmdline"]):
        if llama_cpp_process.__name__ in (process.info["cmdline"] or ()):
            with suppress(psutil.Error):
                if process.environ().get("FT_HOME") == os.environ["FT_HOME"]:
                    return process
    return None


@pytest.mark.parametrize("by", ["ctrl-c", "ft stop"])
def test_export_that_is_stopped_in_its_proof_leaves_nothing(by: str, tiny_model: Path, folder: Path) -> None:
    """Also where llama.cpp hangs."""
    pytest.importorskip("xllamacpp")
    words = ["export", str(tiny_model), "--format", "gguf", "-o", "out"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ft.cli", *words], stderr=subprocess.PIPE, text=True, cwd=folder
    )
    [run] = wait_for(Run.all)
    wait_for(lambda: asked(run))
    engine = wait_for(llama_cpp_here)
    engine.suspend()
    if by == "ctrl-c":
        process.send_signal(signal.SIGINT)
    else:
        done = subprocess.run([sys.executable, "-P", "-m", "ft.cli", "stop", run.id], check=False)
        assert done.returncode == 0
    assert process.wait(timeout=PATIENCE_S) == 130
    assert run.state().status == "stopped"
    assert not engine.is_running()
    assert list(folder.iterdir()) == []
