"""The backend `peft`: transformers and PEFT on CUDA, Apple's GPU and CPUs. Light; torch comes in with `load`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backend_spec import (
    Attention,
    BackendSpec,
    Capability,
    Dtype,
    Kernels,
    KeySupport,
    SupportTable,
)
from engine.backends.torch import memory_model
from engine.config.adapters import PROMPT_TYPES
from engine.config.schema import TrainConfig
from engine.data.tokenization.new_tokens import NewToken
from engine.errors import FtError
from engine.hardware.probe import Machine
from engine.heavy_imports import without_collector
from engine.models.shape import ModelShape

if TYPE_CHECKING:
    from engine.backends.torch.causal_lm import TorchModel
    from engine.backends.torch.trainer import TorchTrainer
    from engine.objectives.base import Objective
    from engine.planning.plan import Plan

ADAPTERS = (
    *("lora", "dora", "adalora", "ia3", "loha", "lokr", "oft", "boft", "vera"),
    *("prefix", "prompt", "ptuning", "none"),
)
INITS = ("default", "gaussian", "orthogonal", "olora", "pissa")
CPU_OPTIMIZERS = ("adamw", "adamw_8bit")
CUDA_OPTIMIZERS = (*CPU_OPTIMIZERS, "paged_adamw_8bit")
BITSANDBYTES = "bitsandbytes"
CPU_FLOPS: Mapping[Dtype, float] = {"fp32": 40e9, "bf16": 90e9, "fp16": 40e9}
"""FLOP/s that one x86 core reaches in training: about 0.6 of its matrix products (fp32 65, bf16 with
instructions for it 150 GFLOP/s a core, measured on two servers)."""
FLASH_CAPABILITY = (8, 0)
"""CUDA compute capability from which FlashAttention 2 runs."""

MASKED = KeySupport("emulated", "a mask keeps packed examples apart")
NO_FP16 = KeySupport(
    "refused",
    "is not for the CPU, which has no fast fp16 arithmetic",
    "Use precision: auto, which chooses what this CPU is fast at.",
)
NO_BITSANDBYTES = KeySupport(
    "refused",
    "needs bitsandbytes, which does not run on Apple's GPU",
    "Use backend: mlx, which quantises there, or quantization: none.",
)
NO_8BIT_STATE = KeySupport(
    "refused", "needs bitsandbytes, which has no optimizer for Apple's GPU", "Use optimizer: adamw."
)
NO_PAGES = KeySupport(
    "refused",
    "needs a CUDA GPU: its pages move between that and the host",
    "Use optimizer: adamw_8bit here.",
)
ONE_MEMORY = KeySupport(
    "refused",
    "needs a CUDA GPU, which has memory of its own: here it would move nothing",
    "Use gradient_checkpointing: true here.",
)
LOFTQ_ON_CUDA = KeySupport(
    "refused", "needs a CUDA GPU: PEFT computes it on no other device", "Use init: default here."
)
ADAMW: Mapping[str, KeySupport] = {
    "adamw": KeySupport("direct", "torch's AdamW"),
    "adamw_8bit": KeySupport(
        "direct", "bitsandbytes' AdamW, its moments in 8 bits", "Use optimizer: adamw.", BITSANDBYTES
    ),
    "paged_adamw_8bit": KeySupport(
        "direct",
        "bitsandbytes' AdamW, its moments in 8 bits and paged to the host",
        "Use optimizer: adamw.",
        BITSANDBYTES,
    ),
}
ON_CPU: SupportTable = {
    "training.precision": {"fp16": NO_FP16},
    "data.packing": {"true": KeySupport("direct", "attention runs example by example")},
    "training.gradient_checkpointing": {"offload": ONE_MEMORY},
    "training.optimizer": {"paged_adamw_8bit": NO_PAGES},
    "adapter.init": {"loftq": LOFTQ_ON_CUDA},
}
ON_MPS: SupportTable = {
    "data.packing": {"true": MASKED},
    "training.gradient_checkpointing": {"offload": ONE_MEMORY},
    "adapter.init": {"loftq": LOFTQ_ON_CUDA},
    "training.optimizer": {"adamw_8bit": NO_8BIT_STATE, "paged_adamw_8bit": NO_8BIT_STATE},
    "model.quantization": {"8bit": NO_BITSANDBYTES, "4bit": NO_BITSANDBYTES},
}
SUPPORT: SupportTable = {
    "model.quantization": {
        "8bit": KeySupport("direct", "LLM.int8() of bitsandbytes", "Use quantization: none.", BITSANDBYTES),
        "4bit": KeySupport("direct", "bitsandbytes", "Use quantization: none.", BITSANDBYTES),
    },
    "model.trust_remote_code": {"true": KeySupport("direct", "run by transformers")},
    "training.gradient_checkpointing": {
        "offload": KeySupport("direct", "the layers' inputs wait in pinned memory of the host"),
    },
    "training.optimizer": ADAMW,
}


def attention(machine: Machine, compute: Dtype) -> tuple[Attention, str]:
    """FlashAttention 2 where it is installed and can run, else torch's fused attention."""
    if machine.device == "cpu":
        return (
            "sdpa",
            "torch's fused attention (sdpa), example by example; it never holds the whole score matrix",
        )
    if machine.device == "mps":
        return "sdpa", "torch's fused attention (sdpa), which never holds the whole score matrix"
    if "flash_attn" not in machine.packages:
        return "sdpa", "torch's fused attention (sdpa): the package flash_attn is not installed"
    if compute == "fp32":
        return "sdpa", "torch's fused attention (sdpa): FlashAttention does not compute in fp32"
    capability = machine.gpu.capability if machine.gpu else None
    if capability is None or capability < FLASH_CAPABILITY:
        return "sdpa", "torch's fused attention (sdpa): FlashAttention 2 needs compute capability 8.0"
    return "flash_attention_2", "FlashAttention 2 is installed, and this GPU can run it"


def kernels(config: TrainConfig, machine: Machine, shape: ModelShape, compute: Dtype) -> Kernels:
    """Liger's fused linear cross-entropy on CUDA, for a head that is frozen and a plain product."""
    if machine.device != "cuda":
        return Kernels()
    if config.adapter.type in PROMPT_TYPES:
        return Kernels(reason="the model's own logits, as virtual tokens come in with the whole model")
    if config.adapter.type == "none":
        return Kernels(
            reason="ft's own loss, in chunks: it adds up the gradient of the output's weights in fp32"
        )
    if "liger_kernel" not in machine.packages:
        return Kernels(
            reason="ft's own loss, in chunks; where liger-kernel is installed (pip install 'ft-studio[liger]'), "
            "one kernel makes loss and gradient of a chunk"
        )
    return Kernels(
        "liger", "liger-kernel is installed: one kernel makes loss and gradient of a chunk of logits"
    )


def quantized(config: TrainConfig) -> str:
    """The format of bitsandbytes' weights, in words."""
    if config.model.quantization == "8bit":
        return "8-bit weights with one scale a row (bitsandbytes)"
    double = " with quantised scales" if config.model.double_quant else ""
    return f"4-bit {config.model.quant_type} weights{double} (bitsandbytes)"


def refusals(machine: Machine, shape: ModelShape, config: TrainConfig | None) -> Mapping[str, FtError]:
    """Weights that another program has packed, with which torch cannot compute."""
    return {"model.base": shape.packed.refused("The model")} if shape.packed else {}


def _model() -> "type[TorchModel]":
    with without_collector():
        from engine.backends.torch.causal_lm import TorchModel
    return TorchModel


def _load(
    plan: "Plan", config: TrainConfig, folder: Path, objective: "Objective", *, adapter: Path | None = None
) -> "TorchTrainer":
    model = _model()
    from engine.backends.torch.trainer import TorchTrainer

    return TorchTrainer(model.load(plan, config, folder, adapter), config, objective)


def _open(
    folder: Path, adapter: Path | None, tokens: Sequence[NewToken], trust_remote_code: bool
) -> "TorchModel":
    return _model().open(folder, adapter, tokens, trust_remote_code)


def _open_shared(folder: Path, adapters: Mapping[str, Path], trust_remote_code: bool) -> "TorchModel":
    return _model().open_shared(folder, adapters, trust_remote_code)


SPEC = BackendSpec(
    name="peft",
    order=30,
    devices={
        "cuda": Capability(
            ("bf16", "fp16", "fp32"),
            ("none", "8bit", "4bit"),
            ADAPTERS,
            (*INITS, "loftq"),
            CUDA_OPTIMIZERS,
            vocabulary=True,
            rates=True,
            noise=True,
            offloading="planned",
            note="a CUDA GPU that this torch was built for",
            support={"data.packing": {"true": MASKED}},
        ),
        "mps": Capability(
            ("bf16", "fp16", "fp32"),
            ("none",),
            ADAPTERS,
            INITS,
            vocabulary=True,
            rates=True,
            noise=True,
            note="the GPU of Apple silicon, through torch's MPS",
            support=ON_MPS,
        ),
        "cpu": Capability(
            ("bf16", "fp32"),
            ("none", "8bit", "4bit"),
            ADAPTERS,
            INITS,
            CPU_OPTIMIZERS,
            exact_resume=True,
            vocabulary=True,
            rates=True,
            noise=True,
            note="no GPU that the installed torch can use",
            support=ON_CPU,
            free_packing="on the CPU attention is computed example by example, so a packed row only saves padding",
            core_flops=CPU_FLOPS,
        ),
    },
    packages=("torch", "transformers", "peft"),
    optional_packages=(BITSANDBYTES, "flash_attn", "liger_kernel"),
    install="pip install torch transformers peft",
    support=SUPPORT,
    refusals=refusals,
    attention=attention,
    kernels=kernels,
    quantized=quantized,
    widens=True,
    predict=memory_model.predict,
    host_bytes=memory_model.host_bytes,
    speed_prefix="",
    load=_load,
    open=_open,
    open_shared=_open_shared,
)
"""bitsandbytes holds 8-bit and 4-bit weights on CUDA and the CPU; torch computes fp16 on a CPU but slowly."""
