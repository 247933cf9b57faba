"""Trained models and their exports for tests of the parity gate: tiny, with answers as decided as a trained model's."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from engine.parity import probes
from engine.parity.exported import Exported
from engine.parity.gate import Gate
from engine.parity.proof import Proof
from engine.runs.directory.trained_model import TrainedModel
from tests.tiny import change_model, copy_tokenizer

SHARP = 4.0
"""Factor of the tiny model's matrices: drawn at random, a model likes all tokens alike, and no fault would show."""


def sharp_model(tiny_model: Path, folder: Path) -> Path:
    """The tiny model with larger weights, so that its likeliest tokens are clearly so."""
    return change_model(
        tiny_model,
        folder,
        lambda tensors: {
            name: value * SHARP if value.ndim == 2 else value for name, value in tensors.items()
        },
    )


def adapted(base: Path, folder: Path, **settings: Any) -> TrainedModel:
    """An adapter of rank 4 and alpha 16 on a base, with weights as large as an update that has learnt something."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(
        **{"r": 4, "lora_alpha": 16, "target_modules": targets, "task_type": "CAUSAL_LM"} | settings
    )
    torch.manual_seed(1)
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.15)
    network.save_pretrained(folder, save_embedding_layers=False)
    return TrainedModel(base, folder)


def merged(model: TrainedModel, folder: Path, dtype: str = "float32") -> Path:
    """The model merged by PEFT, saved by transformers, with the base's tokenizer."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert model.adapter is not None
    network = AutoModelForCausalLM.from_pretrained(model.base_folder(), dtype=torch.float32)
    whole = PeftModel.from_pretrained(network, str(model.adapter)).merge_and_unload()
    whole.to(getattr(torch, dtype)).save_pretrained(folder)
    return copy_tokenizer(model.base_folder(), folder)


def gate(model: TrainedModel) -> Gate:
    """The gate on the texts that come with ft."""
    base = model.base_folder()
    tokenizer = model.spec.tokenizer(base)
    return Gate(model, base, probes.of_text(lambda text: tokenizer.encode([text])[0]), "texts")


def proof(
    model: TrainedModel,
    opened: Callable[..., AbstractContextManager[Exported]],
    out: Path,
    **facts: Any,
) -> Proof:
    """The outcome of the gate for one export."""
    return gate(model).prove(opened, out, facts, lambda what, done, total: None, lambda: None)
