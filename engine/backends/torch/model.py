"""Load a model as the plan says, put the adapter on it, and give its layers their saving forms."""

from pathlib import Path
from typing import Any

import torch
from peft.tuners.ia3 import IA3Layer
from peft.tuners.lora import LoraLayer
from torch import nn

from engine.backend_spec import Dtype
from engine.backends.torch import checkpointing
from engine.backends.torch.adapters import attach
from engine.backends.torch.fused_forwards import (
    is_frozen_linear,
    is_gated_mlp,
    is_product,
    linear_form,
    mlp_form,
)
from engine.backends.torch.loading import load_causal
from engine.backends.torch.norm import replace_norms
from engine.backends.torch.vocabulary import grow, install_forms
from engine.backends.torch.weights import is_quantised
from engine.config.schema import TrainConfig
from engine.data.tokenization.tokenizer import new_tokens
from engine.models.local import read_config
from engine.models.prequantized import Held
from engine.planning.plan import Plan

DTYPES: dict[Dtype, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def load_model(plan: Plan, config: TrainConfig, folder: Path, adapter: Path | None) -> Any:
    """The transformers model of `folder` with its adapter, ready to train. Raises ModelError, ConfigError."""
    model = _base(plan, config, folder)
    tokens = new_tokens(folder, config.model.add_tokens)
    grow(model, tokens)
    model.requires_grad_(config.adapter.type == "none")
    compute = DTYPES[plan.compute_dtype]
    if config.adapter.type != "none":
        model = attach(model, config, plan.steps, folder, tokens, adapter)
    _settle_formats(model, compute)
    _install(causal_of(model), compute, DTYPES[plan.weights_dtype])
    install_forms(causal_of(model), compute)
    if plan.gradient_checkpointing:
        checkpointing.enable(model, torch.device(plan.device))
    return model


def causal_of(model: Any) -> Any:
    """The transformers model, under an adapter or not; what PEFT puts beside it, as virtual tokens, is not in it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def body_of(causal: Any) -> Any:
    """The layers without the head. Llama 4's text model names a base that it does not have, and is its own then."""
    from transformers import PreTrainedModel

    if causal.base_model is not causal:
        return causal.base_model
    return next((part for part in causal.children() if isinstance(part, PreTrainedModel)), causal)


def _base(plan: Plan, config: TrainConfig, folder: Path) -> Any:
    # Without a wish, transformers takes SDPA where the architecture has it, and its plain form elsewhere.
    extra: dict[str, Any] = {} if plan.attention == "sdpa" else {"attn_implementation": plan.attention}
    if config.model.quantization != "none" and Held.of(read_config(folder)) is None:
        extra["quantization_config"] = _quantisation(config, plan)
    return load_causal(
        folder,
        dtype=DTYPES[plan.weights_dtype],
        device=plan.device,
        trust_remote_code=config.model.trust_remote_code,
        **extra,
    )


def _quantisation(config: TrainConfig, plan: Plan) -> Any:
    from transformers import BitsAndBytesConfig

    if config.model.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.model.quant_type,
        bnb_4bit_use_double_quant=config.model.double_quant,
        bnb_4bit_compute_dtype=DTYPES[plan.compute_dtype],
    )


def _settle_formats(model: nn.Module, compute: torch.dtype) -> None:
    """Trained weights in fp32 (masters); small frozen ones in the compute format; matrices stay as they are held."""
    quantised = any(is_quantised(module) for module in model.modules())
    for module in model.modules():
        if is_quantised(module) and hasattr(module, "compute_dtype"):
            module.compute_dtype = compute  # a folder that was quantised elsewhere has another machine's
    held = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Embedding) or is_product(module) or is_quantised(module)
    }
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
        elif id(parameter) not in held and parameter.is_floating_point():
            parameter.data = parameter.data.to(compute)
        elif quantised and parameter.is_floating_point():
            # A view into the mapped file would keep all of its pages, those of the quantised weights too.
            parameter.data = parameter.data.clone()


def _install(model: nn.Module, compute: torch.dtype, kept: torch.dtype) -> None:
    """Replace the forwards of frozen linear layers, norms and gated MLPs where the saving form does the same."""
    for module in model.modules():
        if isinstance(module, nn.Embedding | IA3Layer):  # on quantised weights, PEFT's IA³ answers in fp32
            module.register_forward_hook(lambda _module, _args, output: output.to(compute))
        elif is_gated_mlp(module):
            module.forward = mlp_form(module, kept)
        elif _needs_a_form(module, compute):
            module.forward = linear_form(module)
    replace_norms(model)


def _needs_a_form(module: Any, compute: torch.dtype) -> bool:
    if not is_frozen_linear(module):
        return False
    return isinstance(module, LoraLayer) or module.weight.dtype != compute or is_quantised(module)
