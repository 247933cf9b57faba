"""`ft doctor --prove`: claims that hold on this machine, and planted mistakes that it finds."""

import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.load import Recipe
from engine.doctor.prove import learning, results, tiny
from engine.doctor.prove.claim import TEXTS, Claim
from engine.doctor.prove.learning import Curves, NotHere
from engine.doctor.prove.prove import prove
from engine.doctor.prove.trial import Bench, apart, trained
from engine.errors import ConfigError, TrainingError
from engine.hardware.probe import Machine, probe
from engine.runs.directory.events import Memory
from engine.runs.directory.run import Run
from ft.cli import main
from tests.monitor_app import engine
from tests.run_fixtures import STARTED, make_run

slow = pytest.mark.slow


@pytest.fixture
def bench(ft_home_with_starter: Path, tmp_path: Path) -> Bench:
    return Bench(tmp_path, ft_home_with_starter / "models" / "starter", tiny.rows(tmp_path / "rows.jsonl"))


@pytest.fixture
def peft_alone() -> Machine:
    return replace(probe(), packages={k: v for k, v in probe().packages.items() if "mlx" not in k})


def curves(packed: Sequence[float], padded: Sequence[float], dtype: str = "fp32") -> Curves:
    return Curves({("Llama", "peft"): packed}, {("Llama", "peft"): padded}, dtype, {})


# Learning


@slow
def test_families_learn_the_same_packed_padded_and_on_each_backend(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "FAMILIES", {"Llama": tiny.FAMILIES["Llama"]})
    found = learning.curves(bench, probe(), lambda: False)
    backends = {one.backend for one in learning.trainers(probe())}
    assert {backend for _, backend in found.packed} == backends, found.refused
    holds, figure = learning.packed(found)
    assert holds, figure
    if len(backends) > 1:
        holds, figure = learning.backends(found)
        assert holds, figure


def test_packing_that_changes_what_is_learned_is_found() -> None:
    """The difference that one leaked token makes is a thousand times the limit of rounding."""
    holds, figure = learning.packed(curves([3.0, 2.91], [3.0, 2.90]))
    assert not holds
    assert "too much for Llama on peft" in figure
    assert learning.packed(curves([3.0, 2.9], [3.0, 2.9000001]))[0]
    assert learning.packed(curves([3.0, 2.91], [3.0, 2.90], "bf16"))[0]


def test_backend_that_learns_otherwise_is_found() -> None:
    both = {("Llama", "mlx"): [3.0, 2.9], ("Llama", "peft"): [3.0, 2.8]}
    holds, figure = learning.backends(Curves(both, both, "fp32", {}))
    assert not holds
    assert "Llama: peft and mlx" in figure
    with pytest.raises(NotHere):
        learning.backends(curves([3.0], [3.0]))


def test_families_that_no_time_is_left_for_are_not_said_to_hold(bench: Bench) -> None:
    with pytest.raises(NotHere, match="no time was left"):
        learning.packed(learning.curves(bench, probe(), lambda: True))


def test_curves_of_other_lengths_are_not_the_same() -> None:
    assert apart([1.0, 2.0], [1.0]) == float("inf")
    assert apart([], []) == float("inf")


@slow
def test_damaged_checkpoint_breaks_the_claim_of_resuming(
    bench: Bench, peft_alone: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learning.resumed(bench, peft_alone) == (True, "peft: the same bytes")

    def from_another_step(recipe: Recipe, run: Run | None = None, resume: Path | None = None) -> Run:
        """As if a checkpoint had lost the optimizer's moments of its step, and had those of the last one."""
        if resume is not None:
            state = resume / "state.safetensors"
            state.write_bytes((resume.with_name("step-000004") / state.name).read_bytes())
        return trained(recipe, run, resume)

    monkeypatch.setattr(learning, "trained", from_another_step)
    holds, figure = learning.resumed(bench, peft_alone)
    assert not holds
    assert "losses differ by" in figure


# What comes of it


def test_run_beyond_its_plan_is_found() -> None:
    from tests.test_monitor_screen_snapshots import plan

    def run_with(peak: int) -> Run:
        run = make_run(f"20260101-000000-peak-{peak}")
        (run.folder / "plan.json").write_text(plan().to_json())
        run.emit(Memory(t=STARTED, device_peak_bytes=peak))
        return run

    assert results.memory(run_with(14_000_000_000))[0]
    holds, figure = results.memory(run_with(17_000_000_000))
    assert not holds
    assert "+20%" in figure
    with pytest.raises(NotHere):
        results.memory(make_run("20260101-000000-no-plan"))


@slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_small_memory_is_lived_with(bench: Bench) -> None:
    holds, figure = results.memory_runs_out(bench, probe())
    assert holds, figure
    assert "micro-batch halved" in figure


def test_rates_of_the_machine_are_plausible() -> None:
    flops, bandwidth = results.machine_rates("cpu", "fp32", "peft")
    assert 1e8 < flops < 1e14
    assert 1e8 < bandwidth < 1e13


# The whole


@slow
def test_proof_is_made_apart_and_leaves_nothing(
    ft_home_with_starter: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert main(["doctor", "--prove", "--minutes", "0.1", "--bundle", "report.zip"]) == 0
    with zipfile.ZipFile(folder / "report.zip") as opened:
        claims = [Claim.of(body) for body in json.loads(opened.read("claims.json"))]
    assert [claim.text for claim in claims] == list(TEXTS.values())
    assert claims[0].verdict == "holds"
    assert claims[-1].verdict == "not run"
    assert f"{TEXTS['resumed']}: holds" in capsys.readouterr().err
    assert not (ft_home_with_starter / "runs").exists()
    assert [path.name for path in folder.iterdir()] == ["report.zip"]


def test_proof_waits_for_a_run_that_trains(ft_home_with_starter: Path) -> None:
    with engine(make_run("20260101-000000-busy", end=None)), pytest.raises(ConfigError, match="trains now"):
        next(prove())


@slow
def test_proof_that_breaks_off_says_so(
    ft_home_with_starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ImportError: no torch' >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(TrainingError, match="broke off with 3: ImportError: no torch"):
        list(prove())
