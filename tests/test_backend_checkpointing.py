"""Checkpointing keeps layers' inputs alone, in host memory where the plan says so, and changes no gradient."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from engine.backends.torch.checkpointing import HostMemory, same_draws
from engine.backends.torch.trainer import TorchTrainer
from tests.training import Job, batch_of

BATCH = batch_of([[3, 40, 50, 60, 70, 80, 90, 33], [3, 91, 92, 93]], packed=False)
INPUT = 2 * 8 * 64 * 4
"""Bytes of one layer's input: rows, tokens and width of the tiny model in fp32."""


class Watched(HostMemory):
    """Keeps count of what goes to the host."""

    def __init__(self, model: nn.Module, smallest: int) -> None:
        super().__init__(model, smallest)
        self.moved: list[Tensor] = []
        self.came_back = 0

    def out(self, tensor: Tensor) -> Any:
        kept = super().out(tensor)
        if isinstance(kept, tuple):
            self.moved.append(kept[1])
            assert kept[1].data_ptr() != tensor.data_ptr()
        return kept

    def back(self, kept: Any) -> Tensor:
        self.came_back += isinstance(kept, tuple)
        return super().back(kept)


def gradients(backend: TorchTrainer) -> dict[str, Tensor]:
    torch.manual_seed(0)  # dropout
    backend.model.summed_loss(BATCH).backward()
    return {name: p.grad for name, p in backend.trained.items() if p.grad is not None}


@pytest.mark.parametrize("kind", ["lora", "dora", "none"])
def test_gradients_are_bitwise_equal_with_offloading(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    job = Job.make(tiny_model, tmp_path, adapter={"type": kind})
    both: dict[str, Any] = {"compute_dtype": "fp32", "weights_dtype": "fp32", "gradient_checkpointing": True}
    here = gradients(job.backend(**both))
    backend = job.backend(**both, activation_offloading=True)
    watched = backend.model.host_memory = Watched(backend.model.network, smallest=INPUT)
    there = gradients(backend)
    assert watched.came_back == len(watched.moved) > 0
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)


def test_only_layer_inputs_are_offloaded(tiny_model: Path, tmp_path: Path) -> None:
    """The input of the last norm is offloaded too."""
    job = Job.make(tiny_model, tmp_path)
    backend = job.backend(compute_dtype="fp32", gradient_checkpointing=True, activation_offloading=True)
    layers = backend.model.causal.config.num_hidden_layers
    watched = backend.model.host_memory = Watched(backend.model.network, smallest=INPUT)
    gradients(backend)
    assert [tensor.nbytes for tensor in watched.moved] == [INPUT] * (layers + 1)
    small = backend.model.host_memory = Watched(backend.model.network, smallest=INPUT + 1)
    gradients(backend)
    assert small.moved == []


def test_offloading_leaves_weights_in_place() -> None:
    layer = nn.Linear(64, 64)
    watched = Watched(layer, smallest=1)
    x = torch.randn(4, 64, requires_grad=True)
    with watched.keeping():
        y = layer(x) @ layer.weight.detach()[:32].T  # a view of a weight is one too
    y.sum().backward()
    assert [tensor.shape for tensor in watched.moved] == [x.shape]


def test_evaluation_offloads_nothing(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path)
    backend = job.backend(gradient_checkpointing=True, activation_offloading=True)
    watched = backend.model.host_memory = Watched(backend.model.network, smallest=1)
    backend.evaluate(BATCH)
    assert watched.moved == []


def test_offloading_needs_the_plan(tiny_model: Path, tmp_path: Path) -> None:
    assert Job.make(tiny_model, tmp_path).backend(gradient_checkpointing=True).model.host_memory is None


def test_recomputed_layer_redraws_dropout_on_mps() -> None:
    """torch restores the random state of devices that say `_initialized`; MPS does not, so we do it there."""
    assert not hasattr(torch.mps, "_initialized")
    drop, x = nn.Dropout(0.5), torch.ones(1000, requires_grad=True)

    def gradient(**settings: Any) -> tuple[Tensor, Tensor]:
        x.grad = None
        y = checkpoint(
            lambda z: drop(z).square(), x, use_reentrant=False, preserve_rng_state=False, **settings
        )
        torch.rand(7)  # what other layers draw in between
        state = torch.get_rng_state()
        y.sum().backward()
        assert x.grad is not None
        return (y.detach() > 0) == (x.grad > 0), torch.get_rng_state() == state

    agree, untouched = gradient(context_fn=lambda: same_draws(torch))
    assert agree.all()
    assert untouched.all()
    assert not gradient()[0].all()
