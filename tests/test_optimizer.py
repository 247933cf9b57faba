"""AdamW in 8 bits learns as AdamW does, holds less, and goes on where it was stopped."""

import inspect
from pathlib import Path

import bitsandbytes.optim
import pytest
import torch

from engine.backends.torch.optimizer import OF_BITSANDBYTES, OWN
from engine.errors import ConfigError
from engine.runs.directory.events import Step
from tests.training import Job, StopAtPoll

RANK = 64
"""High enough that the adapter's matrices have the 4096 numbers from which bitsandbytes takes 8 bits."""


def job(model: Path, folder: Path, optimizer: str) -> Job:
    folder.mkdir(exist_ok=True)
    training = {"optimizer": optimizer, "max_steps": 6, "learning_rate": 1e-3}
    return Job.make(
        model, folder, adapter={"rank": RANK}, training=training, evaluation={"every": 10, "samples": []}
    )


def result(one: Job) -> bytes:
    return (one.run.folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_8bit_optimizer_learns_like_fp32(tiny_model: Path, tmp_path: Path) -> None:
    losses = {}
    for name in ("adamw", "adamw_8bit"):
        one = job(tiny_model, tmp_path / name, name)
        assert one.train() == "completed"
        losses[name] = [event.loss for event in one.run.events() if isinstance(event, Step)]
    assert losses["adamw_8bit"] == pytest.approx(losses["adamw"], rel=0.02)
    assert losses["adamw_8bit"][-1] < losses["adamw_8bit"][0]


def test_resume_with_8bit_optimizer_is_exact(tiny_model: Path, tmp_path: Path) -> None:
    whole = job(tiny_model, tmp_path / "whole", "adamw_8bit")
    whole.train()
    parts = job(tiny_model, tmp_path / "parts", "adamw_8bit")
    assert parts.train(StopAtPoll(parts.run, polls=9)) == "stopped"
    step = parts.run.state().step
    assert 0 < step < 6
    parts.train(resume_from=parts.run.checkpoints / f"step-{step:06d}")
    assert result(parts) == result(whole)


def test_optimizer_moments_are_8bit(tiny_model: Path, tmp_path: Path) -> None:
    one = job(tiny_model, tmp_path / "one", "adamw_8bit")
    backend = one.backend()
    for parameter in backend.trained.values():
        parameter.grad = torch.ones_like(parameter)
    backend.optimizer.step()
    large = [p for p in backend.trained.values() if p.numel() >= 4096]
    assert large
    assert all(backend.optimizer.state[p]["state1"].dtype == torch.uint8 for p in large)
    kept = {key for p in large for key in backend.optimizer.state[p]}
    assert set(OF_BITSANDBYTES) == {key for key in kept if not key.startswith("qmap")}
    assert OWN[0] in kept


def test_plan_counts_8bit_optimizer_state(tiny_model: Path, tmp_path: Path) -> None:
    whole, small = (job(tiny_model, tmp_path / name, name).plan.memory for name in ("adamw", "adamw_8bit"))
    assert small.optimizer == pytest.approx(whole.optimizer / 4, rel=0.05)
    assert small.peak_bytes < whole.peak_bytes


def test_paged_optimizer_is_refused_without_cuda(tiny_model: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    with pytest.raises(ConfigError, match="paged_adamw_8bit") as error:
        job(tiny_model, tmp_path / "one", "paged_adamw_8bit")
    assert "adamw_8bit" in error.value.hint


@pytest.mark.parametrize("name", ["AdamW8bit", "PagedAdamW8bit"])
def test_bitsandbytes_optimizer_takes_our_arguments(name: str) -> None:
    parameters = inspect.signature(getattr(bitsandbytes.optim, name).__init__).parameters
    assert {"params", "lr", "weight_decay"} <= set(parameters)
    assert parameters["betas"].default == (0.9, 0.999)
    assert parameters["eps"].default == 1e-8
    assert parameters["min_8bit_size"].default == 4096
