"""Hooks of adapters that need more than gradients: AdaLoRA's ranks, what PiSSA and OLoRA took out of the weights."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.backends.adapter_init import FROM_WEIGHTS, doubled
from engine.backends.torch.adapters import oriented

ADAPTER_FILE = "adapter_model.safetensors"


class AdapterHooks:
    """Of an adapter that needs nothing more, and what the others are asked."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def penalty(self) -> Tensor | None:
        """A term of the loss that depends on the adapter alone, once a step; a scalar in fp32."""
        return None

    def after_step(self) -> None:
        """Called when the optimizer has moved the weights and their gradients are still there."""

    def tensors(self) -> Mapping[str, Tensor]:
        """State besides weights and moments from which training resumes exactly."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave; the weights are back already."""

    def without_adapter(self) -> AbstractContextManager[None]:
        """The network computes what its base computes, for the length of the block."""
        found: AbstractContextManager[None] = self.model.disable_adapter()
        return found

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's layout."""
        self.model.save_pretrained(folder, save_embedding_layers=False)


def hooks_of(model: Any) -> AdapterHooks:
    """The hooks of a model with a fresh adapter, or with none."""
    settings = model.peft_config.get("default") if hasattr(model, "peft_config") else None
    if isinstance(settings, peft.AdaLoraConfig):
        return RankAllocation(model)
    if getattr(settings, "init_lora_weights", None) in FROM_WEIGHTS:
        return Residual(model)
    return AdapterHooks(model)


class RankAllocation(AdapterHooks):
    """AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): ranks are pruned as the run proceeds, by importance."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.steps = 0
        self.settings = model.peft_config["default"]
        self.allocator = model.base_model.rankallocator

    def penalty(self) -> Tensor:
        """Distance of A and B from orthogonal: the mean of ||P^T P - I|| over them (section 3.1)."""
        distances = []
        for name, p in self.model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                product = p @ p.T if ".lora_A." in name else p.T @ p
                distances.append(torch.linalg.norm(product - torch.eye(len(product), device=p.device)))
        return self.settings.orth_reg_weight * torch.stack(distances).mean()

    def after_step(self) -> None:
        self.steps += 1
        self.model.base_model.update_and_allocate(self.steps)

    def tensors(self) -> Mapping[str, Tensor]:
        found = {"steps": torch.tensor(self.steps)}
        for kind, values in self._averages():
            found |= {f"{kind}.{name}": value for name, value in values.items()}
        for name, kept in (self.settings.rank_pattern or {}).items():
            found[f"kept.{name}"] = torch.tensor(kept)
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.steps = int(tensors["steps"])
        for kind, values in self._averages():
            values.clear()
            values.update(_under(kind, tensors))
        # The importance itself is made again each step; PEFT only looks whether it was there.
        self.allocator.ipt = dict(self.allocator.exp_avg_ipt)
        pattern = {name: kept.tolist() for name, kept in _under("kept", tensors).items()}
        self.settings.rank_pattern = pattern or None

    def save(self, folder: Path) -> None:
        """Pruned ranks are left out as soon as no later step can bring them back."""
        pattern = self.settings.rank_pattern
        settled = self.steps >= self.settings.total_step - self.settings.tfinal
        self.settings.rank_pattern = pattern if settled else None
        try:
            super().save(folder)
        finally:  # PEFT puts a pattern with shorter names in its place
            self.settings.rank_pattern = pattern

    def _averages(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Moving averages of each weight's importance and of its uncertainty."""
        yield "importance", self.allocator.exp_avg_ipt
        yield "uncertainty", self.allocator.exp_avg_unc


class Residual(AdapterHooks):
    """PiSSA (arXiv:2404.02948) and OLoRA (arXiv:2406.01775): the start came out of the weights, which hold the rest.

    W + s (B A - B0 A0) is a plain LoRA of twice the rank on the model as it is published, and saved as one.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.start = {name: p.detach().clone() for name, p in self._factors()}

    def tensors(self) -> Mapping[str, Tensor]:
        return self.start

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The same machine takes the same parts out again; from another one, the weights are put right."""
        for name, module in self.model.named_modules():
            a, b = (f"{name}.lora_{factor}.default.weight" for factor in "AB")
            if a not in self.start or all(torch.equal(tensors[key], self.start[key].cpu()) for key in (a, b)):
                continue
            now, then = (
                start[b].to(module.weight.device) @ start[a].to(module.weight.device)
                for start in (self.start, tensors)
            )
            weight = oriented(module)
            weight.copy_(weight.float() + module.scaling["default"] * (now - then))
        self.start = {key: tensors[key].to(value.device) for key, value in self.start.items()}

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """With the start in its place, the update is what was taken out of the weights."""
        now = {name: p.detach().clone() for name, p in self._factors()}
        try:
            self._put(self.start)
            yield
        finally:
            self._put(now)

    @torch.no_grad()
    def _put(self, factors: Mapping[str, Tensor]) -> None:
        for name, parameter in self._factors():
            parameter.copy_(factors[name])

    def save(self, folder: Path) -> None:
        settings = copy.copy(self.model.peft_config["default"])
        settings.r, settings.lora_alpha = 2 * settings.r, doubled(settings.lora_alpha, settings.use_rslora)
        settings.init_lora_weights, settings.inference_mode = True, True
        weights = peft.get_peft_model_state_dict(self.model, save_embedding_layers=False)
        for name, start in self.start.items():
            key = name.replace(".default.", ".")
            ours = weights[key].detach()
            first = ".lora_A." in name
            both = [ours, start if first else -start]
            weights[key] = torch.cat(both, dim=0 if first else 1)
        folder.mkdir(parents=True, exist_ok=True)
        held = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        save_file(held, folder / ADAPTER_FILE, metadata={"format": "pt"})
        settings.save_pretrained(str(folder))

    def _factors(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                yield name, parameter


def _under(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{kind}."): value.clone()
        for name, value in tensors.items()
        if name.startswith(f"{kind}.")
    }
