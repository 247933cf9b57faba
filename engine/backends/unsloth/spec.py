"""The backend `unsloth`: Unsloth's loading and kernels under the torch backend's step. Light."""

from pathlib import Path
from typing import TYPE_CHECKING

from engine.backend_spec import ANY, Attention, BackendSpec, Capability, Dtype, KeySupport, SupportTable
from engine.backends.torch import memory_model
from engine.backends.torch.spec import (
    ADAMW,
    BITSANDBYTES,
    CPU_FLOPS,
    CPU_OPTIMIZERS,
    CUDA_OPTIMIZERS,
    NO_FP16,
    NO_PAGES,
    ONE_MEMORY,
    refusals,
)
from engine.config.schema import TrainConfig
from engine.hardware.probe import Machine
from engine.heavy_imports import without_collector

if TYPE_CHECKING:
    from engine.backends.torch.trainer import TorchTrainer
    from engine.objectives.base import Objective
    from engine.planning.plan import Plan

ADAPTERS = ("lora",)
NO_VOCABULARY = KeySupport(
    "refused",
    "is not for Unsloth: ft trains layers through it, not the vocabulary",
    "Use backend: auto or peft.",
)
SUPPORT: SupportTable = {
    "adapter.type": {
        ANY: KeySupport(
            "refused", "is not for Unsloth: ft trains LoRA through it", "Use backend: auto or peft."
        )
    },
    "adapter.modules_to_save": {ANY: NO_VOCABULARY},
    "model.add_tokens": {ANY: NO_VOCABULARY},
    "model.quantization": {
        "8bit": KeySupport(
            "refused",
            "is not for Unsloth, which holds weights whole or in 4 bits",
            "Use backend: auto or peft.",
        ),
        "4bit": KeySupport("direct", "bitsandbytes", "Use quantization: none.", BITSANDBYTES),
    },
    "model.quant_type": {"fp4": KeySupport("emulated", "nf4, the one format of Unsloth")},
    "model.double_quant": {"false": KeySupport("emulated", "on: Unsloth always quantises the scales too")},
    "model.trust_remote_code": {"true": KeySupport("direct", "run by transformers")},
    "data.packing": {
        "true": KeySupport("direct", "where a trial on the model keeps examples apart; padded elsewhere")
    },
    "training.gradient_checkpointing": {
        "true": KeySupport("direct", "Unsloth's own"),
        "offload": KeySupport("direct", "Unsloth's own, which moves what it keeps to the host anyway"),
    },
    "training.optimizer": ADAMW,
}


def attention(machine: Machine, compute: Dtype) -> tuple[Attention, str]:
    """Attention as Unsloth chooses it."""
    return "sdpa", "Unsloth's own choice: FlashAttention or xFormers where installed, else torch's (sdpa)"


def _problem(machine: Machine) -> str:
    return "" if machine.system == "Linux" else "ft uses Unsloth on Linux only"


def _quantized(config: TrainConfig) -> str:
    return "4-bit nf4 weights with quantised scales (Unsloth with bitsandbytes)"


def _before_import() -> None:
    """Import Unsloth, which changes transformers as it comes in, before a tokenizer is asked for."""
    with without_collector():
        import engine.backends.unsloth.causal_lm  # noqa: F401


def _load(
    plan: "Plan", config: TrainConfig, folder: Path, objective: "Objective", *, adapter: Path | None = None
) -> "TorchTrainer":
    from engine.backends.torch.trainer import TorchTrainer
    from engine.backends.unsloth.causal_lm import UnslothModel

    return TorchTrainer(UnslothModel.load(plan, config, folder, adapter), config, objective)


SPEC = BackendSpec(
    name="unsloth",
    order=20,
    home="cuda",
    away="without an NVIDIA GPU it is slower than peft",
    devices={
        "cuda": Capability(
            ("bf16", "fp16", "fp32"),
            ("none", "4bit"),
            ADAPTERS,
            optimizers=CUDA_OPTIMIZERS,
            offloading="built-in",
            note="a CUDA GPU that this torch was built for",
        ),
        "cpu": Capability(
            ("bf16", "fp32"),
            ("none", "4bit"),
            ADAPTERS,
            optimizers=CPU_OPTIMIZERS,
            exact_resume=True,
            support={
                "training.precision": {"fp16": NO_FP16},
                "training.gradient_checkpointing": {"offload": ONE_MEMORY},
                "training.optimizer": {"paged_adamw_8bit": NO_PAGES},
            },
            core_flops=CPU_FLOPS,
        ),
    },
    packages=("torch", "transformers", "peft", "unsloth"),
    optional_packages=(BITSANDBYTES,),
    install="pip install 'ft-studio[cuda]'",
    problem=_problem,
    support=SUPPORT,
    refusals=refusals,
    attention=attention,
    quantized=_quantized,
    predict=memory_model.predict,
    host_bytes=memory_model.host_bytes,
    before_import=_before_import,
    speed_prefix="",
    load=_load,
)
