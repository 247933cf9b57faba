"""Memory of each way to train, part by part, against what transformers and PEFT make of published configs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, Conv1D

from engine.backend_spec import BYTES
from engine.config.adapters import Adapter
from engine.hardware.probe import probe
from engine.models.sizing import shape_of
from engine.planning.feasibility import fits_of
from engine.planning.ways import FULL, LORA, QLORA
from tests.published_configs import MODELS

NAMES = [
    "smollm2-135m", "gpt2", "llama-3.2-1b", "llama-3.3-70b", "qwen2.5-7b", "qwen3-8b", "gemma-2-2b", "phi-3-mini",
    "phi-2", "gpt-j-6b", "pythia-160m", "mistral-7b",
]  # fmt: skip
FOUR_BITS = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""Bytes of a weight in NF4 with quantised scales: QLoRA, arXiv:2305.14314, section 3."""


def unloaded(folder: Path) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))


def numel(model: Any, trained: bool = False) -> int:
    return sum(one.numel() for one in model.parameters() if one.requires_grad or not trained)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_those_of_the_real_model(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MODELS[name].config))
    large = replace(probe(), available_bytes=4 * 10**12, ram_bytes=4 * 10**12)
    plans = {fit.method: fit.plan for fit in fits_of(shape_of(tmp_path), large)}
    model = unloaded(tmp_path)
    every, head = numel(model), model.get_output_embeddings()
    linear = sum(
        one.weight.numel()
        for one in model.modules()
        if isinstance(one, torch.nn.Linear | Conv1D) and one is not head
    )
    adapter = numel(
        get_peft_model(model, LoraConfig(r=Adapter().rank, target_modules="all-linear")), trained=True
    )
    for method, trained in ((LORA, adapter), (QLORA, adapter), (FULL, every)):
        plan = plans[method]
        assert plan is not None, method
        width = BYTES[plan.weights_dtype]
        weights = linear * FOUR_BITS + (every - linear) * width if method == QLORA else every * width
        parts = plan.memory
        assert parts.weights == pytest.approx(weights, abs=1)
        assert parts.adapter == (0 if method == FULL else 4 * trained)
        assert parts.gradients == 4 * trained, "fp32"
        assert parts.optimizer == 8 * trained, "AdamW's two moments in fp32"
        assert parts.activations > 0
        assert parts.logits > 0
