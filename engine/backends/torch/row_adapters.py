"""Several LoRA adapters on one base, each row of a batch answered by its own. The base's weights are there once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from engine.backends.torch.loading import load_adapter
from engine.backends.torch.model import causal_of
from engine.errors import ConfigError

Groups = list[tuple[str, Tensor | None]]
"""Rows of each adapter in a batch; None stands for all of them."""


class RowAdapters:
    """The adapters by name, and which of them answers each row of the next pass."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.groups: Groups = []
        self._placed: tuple[str | None, ...] | None = None

    def place(self, adapters: Sequence[str | None]) -> None:
        """Say which adapter answers each row of the next pass: None is the base alone. Raises KeyError for others."""
        placed = tuple(adapters)
        if placed == self._placed:
            return
        groups: Groups = []
        for name in sorted({name for name in placed if name is not None}):
            if name not in self.names:
                raise KeyError(name)
            rows = [row for row, own in enumerate(placed) if own == name]
            groups.append((name, None if len(rows) == len(placed) else torch.tensor(rows)))
        self.groups, self._placed = groups, placed


def share(network: Any, adapters: Mapping[str, Path]) -> tuple[Any, RowAdapters]:
    """`network` with several adapters on it (PEFT's layout), each for the rows that it is placed on.

    Raises ModelError where one does not load, ConfigError where one is not a plain LoRA.
    """
    for name, folder in adapters.items():
        network = load_adapter(network, folder, name=name)
        refuse_others(name, network.peft_config[name])
    rows = RowAdapters([*adapters])
    causal = causal_of(network)
    for module in causal.modules():
        if isinstance(module, LoraLayer):
            module.forward = _form(module, rows)
    return network, rows


def refuse_others(name: str, settings: Any) -> None:
    """Raise ConfigError for an adapter that is more than products added to linear layers."""
    kind = str(getattr(settings.peft_type, "value", settings.peft_type))
    special = "DoRA" if getattr(settings, "use_dora", False) else "" if kind == "LORA" else kind
    if not special and (
        settings.modules_to_save or settings.bias != "none" or settings.trainable_token_indices
    ):
        special = "LoRA with weights of the base beside it"
    if special:
        raise ConfigError(
            f"Adapter {name} is a {special}; only plain LoRA adapters can share a base.",
            "Serve it alone, or merge it first: ft export --format merged",
        )


def _form(module: Any, rows: RowAdapters) -> Any:
    """Forward of an adapted layer: y = base(x), and for each adapter's rows y += s (x A^T) B^T (arXiv:2106.09685)."""
    base = module.base_layer
    if not isinstance(base, nn.Linear):
        raise ConfigError(
            f"An adapter is on a {type(base).__name__}; only adapters on linear layers can share a base.",
            "Serve it alone, or merge it first: ft export --format merged",
        )
    parts = {name: (module.lora_A[name], module.lora_B[name], module.scaling[name]) for name in module.lora_A}

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        y: Tensor = base(x)
        for name, own in rows.groups:
            if name not in parts:
                continue
            a, b, scale = parts[name]
            inputs = (x if own is None else x[own]).to(a.weight.dtype)
            update = b(a(inputs)).mul_(scale).to(y.dtype)
            if own is None:
                y = y.add_(update)
            else:
                y[own] += update
        return y

    return forward
