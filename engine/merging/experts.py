"""Updates of a mixture's experts, which transformers 5 holds as 3-D parameters and files often expert by expert.

PEFT wraps `experts.gate_up_proj` and `experts.down_proj` in one another: with both adapted, the tensors of the first
are `experts.base_layer.lora_*` and those of the second `experts.lora_*`. A is `[experts * rank, inputs]`, expert after
expert; B is `[outputs, rank * experts]`, where the experts of one rank lie side by side.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from engine.errors import ModelError
from engine.merging.adapter import LoraAdapter
from engine.merging.names import spellings
from engine.merging.rows import Factors
from engine.models.weight_headers import TensorInfo

EXPERTS = re.compile(r"(?P<experts>.+\.experts)(?P<inner>\.base_layer)?")
GATE_UP, DOWN = "gate_up_proj", "down_proj"
SINGLE = {GATE_UP: (("gate_proj", "up_proj"), ("w1", "w3")), DOWN: (("down_proj",), ("w2",))}
"""Names of the matrices of one expert in files, and of those that a 3-D parameter holds side by side."""


def expert_updates(
    adapter: LoraAdapter, path: str, infos: Mapping[str, TensorInfo]
) -> dict[str, tuple[Factors, ...]] | None:
    """Updates by the name of a tensor in the base's files: one an expert for a 3-D tensor, else one. None where the
    layer at `path` is not a mixture's experts.

    Raises ModelError where their layout is not known, or does not fit.
    """
    found = EXPERTS.fullmatch(path)
    if not found:
        return None
    layout = _Layout.of(found["experts"], _parameter(adapter, found["experts"], bool(found["inner"])), infos)
    if layout is None:
        raise ModelError(
            f"{adapter.folder}: the adapter changes {path}, a mixture's experts in a layout that ft does not merge.",
            "Use the adapter beside its base, or leave the experts out of adapter.target_modules.",
        )
    a, b = adapter.tensor(path, "A"), adapter.tensor(path, "B")
    if a is None or b is None or a.shape[0] % layout.experts or b.shape[1] != a.shape[0]:
        raise adapter.damaged(path)
    rank = a.shape[0] // layout.experts
    scale = adapter.scale(f"{found['experts']}.{layout.parameter}", rank)
    a = a.reshape(layout.experts, rank, -1)
    b = b.reshape(b.shape[0], rank, layout.experts)
    return layout.named([Factors(b[..., i], a[i], scale) for i in range(layout.experts)])


def _parameter(adapter: LoraAdapter, experts: str, inner: bool) -> str:
    """Name of the parameter that the tensors are of: PEFT wraps in the model's own order, the first innermost."""
    if inner:
        return GATE_UP
    if f"{experts}.base_layer" in adapter.layers:
        return DOWN
    named = [str(name) for name in adapter.settings.get("target_parameters") or ()]
    named += [str(name) for name in adapter.settings.get("target_modules") or ()]
    return GATE_UP if any(name.endswith((GATE_UP, "gate_proj", "w1")) for name in named) else DOWN


@dataclass(frozen=True)
class _Layout:
    """Names of the tensors in files that hold one parameter of a layer's experts."""

    parameter: str
    experts: int
    whole: TensorInfo | None = None
    """The 3-D tensor."""
    single: tuple[tuple[str, ...], ...] = ()
    """Names by expert, of the matrices that lie side by side in the parameter."""

    @staticmethod
    def of(path: str, parameter: str, infos: Mapping[str, TensorInfo]) -> "_Layout | None":
        for found in spellings(path):
            whole = infos.get(f"{found}.{parameter}")
            if whole is not None and len(whole.shape) == 3:
                return _Layout(parameter, whole.shape[0], whole)
            for names in SINGLE[parameter]:
                count = 0
                while all(f"{found}.{count}.{name}.weight" in infos for name in names):
                    count += 1
                if count:
                    return _Layout(
                        parameter,
                        count,
                        single=tuple(
                            tuple(f"{found}.{i}.{name}.weight" for name in names) for i in range(count)
                        ),
                    )
        return None

    def named(self, updates: list[Factors]) -> dict[str, tuple[Factors, ...]]:
        """The updates `[outputs, inputs]` by the names in files. Raises ModelError for shapes that do not fit."""
        if self.whole is not None:
            return {self.whole.name: tuple(self._oriented(self.whole, update) for update in updates)}
        named: dict[str, tuple[Factors, ...]] = {}
        for names, update in zip(self.single, updates, strict=True):
            parts = np.split(update.left, len(names))
            for name, left in zip(names, parts, strict=True):
                named[name] = (replace(update, left=left),)
        return named

    def _oriented(self, whole: TensorInfo, update: Factors) -> Factors:
        shape = whole.shape[1:]
        if shape[0] == shape[1]:
            raise ModelError(
                f"{whole.name} is square for each expert, and its files do not say which side is the input.",
                "ft does not merge into it; use the adapter beside its base.",
            )
        if shape not in (update.shape, update.shape[::-1]):
            raise ModelError(
                f"{whole.name} is {shape[0]} by {shape[1]} for each expert, and its update {update.shape[0]} by "
                f"{update.shape[1]}.",
                "Use the base model that the adapter was trained on.",
            )
        return update if shape == update.shape else update.transposed
