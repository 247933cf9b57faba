"""Checkpointing: layers keep their inputs, here or in host memory, and are computed again in the backward pass."""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

SMALLEST = 1 << 20
"""Bytes from which a tensor is worth its way to the host and back."""

Elsewhere = tuple[torch.device, Tensor]
"""Device that a tensor came from, and its copy in host memory."""


def enable(model: Any, device: torch.device) -> None:
    """Let the layers of a transformers model be computed again instead of keeping what they made."""
    # Non-reentrant: it restores the random state, and works where no input asks for a gradient.
    settings: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": True}
    if device.type == "mps":  # torch restores the CPU's and CUDA's random states alone
        settings["context_fn"] = functools.partial(same_draws, torch.mps)
    model.gradient_checkpointing_enable(settings)


def same_draws(random: Any) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts for a layer and its repetition, so that dropout draws the same; `random` has the device's state."""
    states: list[Tensor] = []

    @contextmanager
    def first() -> Iterator[None]:
        states.append(random.get_rng_state())
        yield

    @contextmanager
    def again() -> Iterator[None]:
        now = random.get_rng_state()
        random.set_rng_state(states[0])
        try:
            yield
        finally:
            random.set_rng_state(now)

    return first(), again()


class HostMemory:
    """Moves what a forward pass keeps for the backward pass to host memory; it comes back as it was.

    Around a checkpointed pass that is the layers' inputs: what a layer makes when it is computed again is not seen
    here. Weights stay, and so do tensors of fewer than `smallest` bytes. Copies go through pinned memory on the
    stream that computes, so that their order alone keeps them right, and nobody waits for them. (transformers has
    the like, which waits for every copy.)
    """

    def __init__(self, model: nn.Module, smallest: int = SMALLEST) -> None:
        self.model = model
        self.smallest = smallest
        self._weights: set[int] = set()

    def keeping(self) -> AbstractContextManager[Any]:
        """The context for a forward pass; its backward pass may come later."""
        # Asked again each time: what holds a weight may change, as when a state is loaded.
        held = (*self.model.parameters(), *self.model.buffers())
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in held}
        return saved_tensors_hooks(self.out, self.back)

    def out(self, tensor: Tensor) -> Tensor | Elsewhere:
        """A copy in host memory, or the tensor itself where that would bring nothing."""
        if tensor.nbytes < self.smallest or tensor.untyped_storage().data_ptr() in self._weights:
            return tensor
        copy = torch.empty_like(tensor, device="cpu", pin_memory=tensor.device.type == "cuda")
        return tensor.device, copy.copy_(tensor, non_blocking=True)

    def back(self, kept: Tensor | Elsewhere) -> Tensor:
        """Return what `out` was given, on its device again."""
        if isinstance(kept, Tensor):
            return kept
        device, copy = kept
        return copy.to(device, non_blocking=True)
