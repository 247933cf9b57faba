"""Weighted sum of several trained models, computed by PEFT and transformers: what a merge of them is held against.

Nothing is merged. What an adapter changes is the output of a linear layer, an embedding or a norm, and such an output
is linear in the layer's weights: so the weighted sum of the outputs, W x + Σ w (Mx - Wx), is the output of the sum of
the weights. Each adapter's output is PEFT's own. Whole models have their parameters added.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.types import Float32
from engine.errors import ModelError
from engine.parity.exported import Distributions, Heartbeat, Probe
from engine.parity.torch_model import load_base, next_tokens, watched
from engine.runs.directory.trained_model import TrainedModel

ROUNDING = 1e-9
"""Sum of weights that is rounding alone."""


class NoSumError(ModelError):
    """The weighted sum of some models cannot be computed without merging them."""


@dataclass(frozen=True)
class Summed:
    """Trained models on one base, and the weight of each one's update; `exact` is True if an export is to be the sum
    itself, and not what another method makes of the models."""

    models: tuple[TrainedModel, ...]
    weights: tuple[float, ...]
    exact: bool


class SummedReference:
    """W + Σ w (M - W), in fp32. See `engine.parity.torch_model.Reference`."""

    def __init__(self, summed: Summed, base: Path, trust_remote_code: bool, heartbeat: Heartbeat) -> None:
        """Raises ModelError where the base does not load, NoSumError where PEFT cannot have these adapters beside each
        other, or what they adapt is not linear."""
        first = summed.models[0]
        whole = first.adapter is None
        network, self.tokenizer, dtype = load_base(
            first, first.base_folder() if whole else base, trust_remote_code
        )
        if whole:
            _add_parameters(network, summed, trust_remote_code)
        else:
            network = _with_adapters(network, summed)
        self.about = f"weighted sum of {len(summed.models)} models, {dtype}"
        self.network = watched(network.eval(), heartbeat)

    def next_tokens(self, probes: Sequence[Probe]) -> Distributions:
        """Distributions of the next token at every place of the probes, in their order."""
        return next_tokens(self.network, probes)

    def weights(self) -> Iterator[tuple[str, Float32]]:
        """None: there is no network whose weights are the sum."""
        return iter(())


def _add_parameters(network: Any, summed: Summed, trust_remote_code: bool) -> None:
    """Turn the parameters of the first model into the weighted sum of all."""
    import torch

    with torch.no_grad():
        for own in network.parameters():
            own.mul_(summed.weights[0])
        for model, weight in zip(summed.models[1:], summed.weights[1:], strict=True):
            other, _, _ = load_base(model, model.base_folder(), trust_remote_code)
            for own, added in zip(network.parameters(), other.parameters(), strict=True):
                own.add_(added, alpha=weight)


def _with_adapters(network: Any, summed: Summed) -> Any:
    """The network with all adapters on it, each layer answering with the weighted sum of their outputs."""
    from peft.tuners.lora.layer import ParamWrapper
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    from engine.backends.torch.loading import load_adapter

    weights = {}
    for index, (model, weight) in enumerate(zip(summed.models, summed.weights, strict=True)):
        assert model.adapter is not None
        try:
            network = load_adapter(network, model.adapter, name=f"model{index}")
        except ModelError as error:
            raise NoSumError(error.message, error.hint) from error
        weights[f"model{index}"] = weight
    kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    for module in list(_outermost(network, kinds)):
        if any(isinstance(part, ParamWrapper) for part in module.modules()):
            raise NoSumError("outputs of adapters on a mixture's experts do not add up")
        parts = [part for part in module.modules() if isinstance(part, kinds)]
        module.forward = _summed_form(module.forward, parts, weights)
    return network


def _outermost(module: Any, kinds: tuple[type, ...]) -> Iterator[Any]:
    """The adapted layers of a network, without those within another."""
    for child in module.children():
        if isinstance(child, kinds):
            yield child
        else:
            yield from _outermost(child, kinds)


def _summed_form(
    forward: Callable[..., Any], parts: Sequence[Any], weights: dict[str, float]
) -> Callable[..., Any]:
    """A layer's output as the weighted sum of its outputs with each adapter, and with none for what is left of 1."""
    rest = 1.0 - sum(weights.values())
    shares = [*weights.items(), *([(None, rest)] if abs(rest) > ROUNDING else [])]

    def summed(*inputs: Any, **named: Any) -> Any:
        found = None
        for name, weight in shares:
            # By their own attributes: PEFT's methods would go through all gradients, at every layer.
            for part in parts:
                part._disable_adapters = name is None
                part._active_adapter = [name] if name is not None else []
            output = forward(*inputs, **named) * weight
            found = output if found is None else found + output
        return found

    return summed
