"""PEFT adapters with random values on tiny models of any family, made by PEFT itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

IDS = [[3, 40, 50, 60, 70, 80, 90, 100, 7, 8]]


def make_adapter(model: Path, folder: Path, /, **settings: Any) -> Path:
    """Write an adapter of LoraConfig's settings whose tensors are all random, as PEFT saves it; seeded."""
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if parameter.requires_grad and "magnitude" not in name:
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
                elif parameter.requires_grad:
                    parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink()
    return folder


def peft_logits(model: Path, adapter: Path | None) -> Any:
    """Logits `[1, length, vocabulary]` in fp32 by transformers, with the adapter put on by PEFT where there is one."""
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    network = base if adapter is None else PeftModel.from_pretrained(base, str(adapter))
    with torch.no_grad():
        return network.eval()(torch.tensor(IDS)).logits.float().numpy()


def mlx_logits(model: Path, adapter: Path | None = None) -> Any:
    """The same by mlx-lm's own loader."""
    import mlx.core as mx
    from mlx_lm import load

    network, *_ = load(str(model), adapter_path=str(adapter) if adapter is not None else None)
    return np.array(network(mx.array(IDS)).astype(mx.float32))


def config_of(adapter: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text())
    return found
