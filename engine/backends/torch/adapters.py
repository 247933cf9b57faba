"""Every type of adapter, as PEFT makes it: its settings, where it starts, and how a saved one comes back."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer, ParamWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from engine.backends.adapter_init import (
    FROM_WEIGHTS,
    Float32,
    Layer,
    Product,
    draw_start,
    quantised_start,
    scaling,
)
from engine.backends.torch.loading import load_adapter
from engine.backends.torch.vocabulary import keep_tied, names_of, trained_beside
from engine.config.adapters import PROMPT_TYPES, Adapter
from engine.config.schema import TrainConfig
from engine.data.tokenization.new_tokens import NewToken
from engine.errors import ConfigError
from engine.models.adapters import BLOCK_SIZES, initial_rank, left_out
from engine.models.language_model import of_language_model

NOTHING: Mapping[str, Any] = {}
WARM, SETTLED = 0.1, 0.2
"""Shares of the steps that AdaLoRA trains before it prunes, and after: those of the example in PEFT's reference."""


def attach(
    model: Any,
    config: TrainConfig,
    steps: int,
    folder: Path,
    tokens: Sequence[NewToken] = (),
    saved: Path | None = None,
) -> Any:
    """`model` with a fresh adapter, or with the one in the folder `saved`.

    `steps` are those of the whole run, `folder` is where the model came from, `tokens` are those that it was given rows
    for. Raises ConfigError where the model's layers do not suit the adapter.
    """
    wanted, names = config.adapter, names_of(model)
    if saved is not None:
        model = _reattach(model, wanted, saved)
        if wanted.type in ("lora", "dora"):
            keep_tied(model, names)
        return model
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        try:
            beside = trained_beside(model, wanted, tokens) if wanted.type in ("lora", "dora") else {}
            model = peft.get_peft_model(model, settings(model, wanted, steps, beside))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"adapter.target_modules: {str(error).splitlines()[0]}",
                "use all-linear, or names of linear layers as `ft models show` lists them; not every adapter.type "
                "knows every kind of layer, lora does",
            ) from error
    if wanted.type in ("lora", "dora"):
        keep_tied(model, names)
        start(model, wanted, config.seed)
    if wanted.init == "loftq":
        peft.replace_lora_weights_loftq(model, model_path=str(folder))
    for name, parameter in model.named_parameters():
        # How many ranks there are is no weight, though PEFT lets it learn in half precision.
        if ".ranknum." in name:
            parameter.requires_grad = False
    return model


def _reattach(model: Any, wanted: Adapter, saved: Path) -> Any:
    # PEFT takes saved virtual tokens for answers alone; of P-tuning's, the network that made them is not saved.
    prompted = wanted.type in PROMPT_TYPES
    model = load_adapter(model, saved, trainable=not prompted, dropout=wanted.dropout)
    if prompted:
        model.prompt_encoder.requires_grad_(True)
    return model


def settings(
    model: nn.Module, wanted: Adapter, steps: int, beside: Mapping[str, Any] = NOTHING
) -> peft.PeftConfig:
    """PEFT's settings of the recipe's adapter; `beside` is what a LoRA trains besides (`trained_beside`)."""
    if wanted.type in PROMPT_TYPES:
        return _virtual_tokens(wanted)
    rank, alpha = {"r": wanted.rank}, {"alpha": wanted.alpha}
    layers: dict[str, Any] = {
        "task_type": "CAUSAL_LM",
        "target_modules": _targets(model, wanted.target_modules),
    }
    if wanted.type == "loha":
        return peft.LoHaConfig(**rank, **alpha, **layers)
    if wanted.type == "lokr":
        return peft.LoKrConfig(**rank, **alpha, **layers)
    if wanted.type == "oft":
        return peft.OFTConfig(oft_block_size=wanted.block_size or BLOCK_SIZES["oft"], **layers)
    if wanted.type == "boft":
        size = wanted.block_size or BLOCK_SIZES["boft"]
        return peft.BOFTConfig(boft_block_size=size, boft_dropout=wanted.dropout, **layers)
    # GPT-2 keeps its matrices the other way round; PEFT would find out by itself, with a warning for each.
    layers["fan_in_fan_out"] = any(isinstance(module, Conv1D) for module in model.modules())
    if wanted.type == "ia3":
        return peft.IA3Config(feedforward_modules=[], **layers)
    if wanted.type == "vera":
        return peft.VeraConfig(**rank, vera_dropout=wanted.dropout, **layers)
    layers |= {"lora_alpha": wanted.alpha, "lora_dropout": wanted.dropout}
    if wanted.type == "adalora":
        return peft.AdaLoraConfig(
            target_r=wanted.rank,
            init_r=initial_rank(wanted),
            total_step=steps,
            tinit=int(WARM * steps),
            tfinal=int(SETTLED * steps),
            **layers,
        )
    return peft.LoraConfig(
        **rank,
        use_dora=wanted.type == "dora",
        use_rslora=wanted.rslora,
        **layers,
        **copy.deepcopy(dict(beside)),
    )


def _virtual_tokens(wanted: Adapter) -> peft.PeftConfig:
    count: dict[str, Any] = {"num_virtual_tokens": wanted.virtual_tokens, "task_type": "CAUSAL_LM"}
    if wanted.type == "prefix":
        return peft.PrefixTuningConfig(**count)
    if wanted.type == "prompt":
        # Vectors of real tokens are a better start than noise (Lester et al. 2021, arXiv:2104.08691, figure 3b).
        return peft.PromptTuningConfig(prompt_tuning_init="SAMPLE_VOCAB", **count)
    return peft.PromptEncoderConfig(encoder_hidden_size=wanted.encoder_size, **count)


def _targets(model: Any, wanted: str | Sequence[str]) -> str | list[str]:
    """Names of the layers that get an adapter: `all-linear`, or those of these names, in the language model alone.

    `all-linear` leaves out a mixture's experts too, what weighs them, and what kernels read past an adapter. PEFT's own
    would take all of these.
    """
    head = model.get_output_embeddings()
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
    own = of_language_model(linear)
    if not isinstance(wanted, str):
        return list(wanted) if len(own) == len(linear) else _named(own, wanted)
    mixture = any(".experts." in name for name, _ in model.named_parameters())
    without = left_out(model.config.model_type, mixture)
    taken = [
        name
        for name in own
        if name.rpartition(".")[2] not in without and not (mixture and ".experts." in name)
    ]
    if len(taken) == len(linear) and not mixture:
        return wanted
    names = {name.rpartition(".")[2] for name in taken}
    elsewhere = {name.rpartition(".")[2] for name in set(linear).difference(taken)}
    return sorted(taken if names & elsewhere else names)


def _named(layers: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The layers whose paths end with these names; a name that none has stays, for PEFT to look for."""
    found = []
    for name in wanted:
        found += [path for path in layers if path == name or path.endswith(f".{name}")] or [name]
    return sorted(set(found))


@torch.no_grad()
def start(model: Any, wanted: Adapter, seed: int) -> None:
    """Put every A and B where all backends start them; PiSSA and OLoRA leave the weights with the rest.

    Raises ConfigError where the layers cannot start so.
    """
    modules = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and "default" in module.lora_A
    }
    layers = {name: _layer(name, module, wanted.init) for name, module in modules.items()}
    scale = scaling(wanted.alpha, wanted.rank, wanted.rslora)
    for name, a, b in draw_start(layers, wanted.init, seed, scale, wanted.rank):
        module = modules[name]
        factors = [module.lora_A["default"].weight, module.lora_B["default"].weight]
        for factor, values in zip(factors, (a, b), strict=True):
            factor.copy_(torch.from_numpy(values))
        if wanted.init in FROM_WEIGHTS:
            weight = oriented(module)
            first, second = (factor.to(weight.device).float() for factor in factors)
            weight.copy_(weight.float() - scale * (second @ first))
    if wanted.init in FROM_WEIGHTS:  # `adapter_hooks.hooks_of` reads it
        model.peft_config["default"].init_lora_weights = wanted.init


def oriented(module: Any) -> torch.Tensor:
    """The weights of an adapted layer as `[outputs, inputs]`, in place; GPT-2 keeps them the other way round."""
    return module.weight.T if module.fan_in_fan_out else module.weight


def _layer(name: str, module: Any, init: str) -> Layer:
    """An adapted layer as its start is drawn for."""
    a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
    if init not in ("default", "gaussian", "loftq") and isinstance(module, ParamWrapper):
        raise ConfigError(
            f"adapter.init: {init} is not for a mixture's experts, as {name}",
            "Use init: default, or leave the experts out of adapter.target_modules.",
        )

    def products() -> tuple[Product, Product]:
        if not module.weight.is_floating_point():
            raise quantised_start(init)
        weight = oriented(module).float()
        return _product(weight), _product(weight.T)

    return Layer(a.shape[0], a.shape[1], b.shape[0], products)


def _product(weight: torch.Tensor) -> Product:
    def times(x: Float32) -> Float32:
        product: Float32 = (weight @ torch.from_numpy(x).to(weight.device)).cpu().numpy()
        return product

    return times
