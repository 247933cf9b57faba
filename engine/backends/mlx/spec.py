"""The backend `mlx`: mlx-lm's models on Apple's GPU, and on any CPU that MLX runs on. Light."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backend_spec import (
    ANY,
    Attention,
    BackendSpec,
    Capability,
    Dtype,
    Kernels,
    KeySupport,
    SupportTable,
)
from engine.backends.mlx import memory_model
from engine.backends.mlx.refusals import experts_refused
from engine.config.schema import TrainConfig
from engine.data.tokenization.new_tokens import NewToken
from engine.errors import ConfigError, FtError
from engine.hardware.probe import Machine
from engine.heavy_imports import without_collector
from engine.models.shape import ModelShape

if TYPE_CHECKING:
    from engine.backends.mlx.causal_lm import MlxModel
    from engine.backends.mlx.trainer import MlxTrainer
    from engine.objectives.base import Objective
    from engine.planning.plan import Plan

OWN_RANKS = ("rank_pattern", "alpha_pattern")
"""PEFT's settings that give layers ranks of their own."""
ADAPTERS = ("lora", "dora", "none")
INITS = ("default", "gaussian", "orthogonal", "olora", "pissa")
ONE_RATE = KeySupport("refused", "is not for MLX, which has one rate for all weights", "Use backend: peft.")
SUPPORT: SupportTable = {
    "model.quantization": {
        "8bit": KeySupport("direct", "MLX's 8-bit weights, quantised while loading"),
        "4bit": KeySupport("direct", "MLX's 4-bit weights, quantised while loading"),
    },
    "model.quant_type": {
        ANY: KeySupport(
            "emulated", "16 even steps between the ends of each 64 weights: as near as nf4, nearer than fp4"
        )
    },
    "model.double_quant": {
        "true": KeySupport("emulated", "left out: MLX keeps scale and offset of each 64 weights as they are"),
    },
    "model.trust_remote_code": {
        "true": KeySupport("emulated", "runs code that is written for MLX alone; mlx-lm brings its own"),
    },
    "data.packing": {"true": KeySupport("emulated", "a mask keeps packed examples apart")},
    "training.gradient_checkpointing": {
        "true": KeySupport("direct", "mx.checkpoint, by layer"),
        "offload": KeySupport(
            "refused",
            "needs a CUDA GPU, which has memory of its own: here it would move nothing",
            "Use gradient_checkpointing: true here.",
        ),
    },
    "training.lora_plus_ratio": {ANY: ONE_RATE},
    "training.layer_decay": {ANY: ONE_RATE},
    "training.neftune_alpha": {ANY: KeySupport("refused", "is not for MLX", "Use backend: peft.")},
    "training.optimizer": {
        "adamw": KeySupport("direct", "MLX's AdamW with bias correction"),
        ANY: KeySupport(
            "refused", "is not for MLX, whose AdamW has its state in fp32", "Use optimizer: adamw."
        ),
    },
}

KERNELS = "mlx-train-perf"
KERNEL_DTYPES: tuple[Dtype, ...] = ("fp32", "bf16")
KERNEL_HEAD_DIMS = (64, 96, 128)
KERNEL_ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
"""The kernels' own list of what they serve: formats, attention heads and kinds of models (README and
`attention.api` of 0.9.0). mlx-lm runs Mistral as Llama."""
INSTALL_KERNELS = "pip install 'ft-studio[mlx-fast]'"


def attention(machine: Machine, compute: Dtype) -> tuple[Attention, str]:
    """MLX's fused attention."""
    return "sdpa", "MLX's fused attention"


def kernels(config: TrainConfig, machine: Machine, shape: ModelShape, compute: Dtype) -> Kernels:
    """Metal kernels of mlx-train-perf for loss and attention, where it is installed and they serve the model."""
    if machine.device != "mps":
        return Kernels()
    version = machine.packages.get("mlx_train_perf")
    if version is None:
        return Kernels(
            reason=f"MLX's attention and ft's chunked loss: mlx-train-perf is not installed ({INSTALL_KERNELS})"
        )
    if against := _kernels_unfit(machine, shape, compute):
        return Kernels(
            reason=f"MLX's attention and ft's chunked loss: mlx-train-perf {version} is installed, but {against}"
        )
    return Kernels(
        KERNELS,
        f"Metal kernels of mlx-train-perf {version}: they hold neither logits nor a mask, and the memory of attention "
        "grows with a row's length, not with its square",
        attend=True,
    )


def _kernels_unfit(machine: Machine, shape: ModelShape, compute: Dtype) -> str:
    """Reason why the installed kernels cannot be used; empty where they can."""
    mlx = machine.packages.get("mlx", "")
    if mlx not in machine.mlx_verified:
        known = ", ".join(sorted(machine.mlx_verified)) or "none"
        return f"its kernels are not verified for mlx {mlx} (verified: {known})"
    if shape.architecture not in KERNEL_ARCHITECTURES:
        return f"its kernels are for {', '.join(KERNEL_ARCHITECTURES)}, not for {shape.architecture}"
    if shape.head_dim not in KERNEL_HEAD_DIMS:
        sizes = ", ".join(map(str, KERNEL_HEAD_DIMS))
        return f"its kernels take attention heads of {sizes}, and the model's have {shape.head_dim}"
    if compute not in KERNEL_DTYPES:
        return f"its kernels compute in {' and '.join(KERNEL_DTYPES)}, not in {compute}"
    return ""


def refusals(machine: Machine, shape: ModelShape, config: TrainConfig | None) -> Mapping[str, FtError]:
    """Models that mlx-lm has no code for, and experts named as targets. mlx-lm reads packed weights itself."""
    found: dict[str, FtError] = {}
    version = machine.packages.get("mlx_lm")
    if version is not None and shape.architecture not in machine.mlx_architectures:
        found["model.base"] = ConfigError(
            f"backend: mlx-lm {version} has no code for models of the kind {shape.architecture}",
            "Use backend: peft, which takes what transformers knows, or a newer mlx-lm.",
        )
    if shape.held is not None:
        found["model.base"] = ConfigError(
            "backend: mlx-lm does not read the formats of bitsandbytes that the model's weights are in",
            "Use the model that it was made from with model.quantization: 4bit, or backend: peft.",
        )
    named = [] if config is None else config.adapter.target_modules
    if experts := [] if isinstance(named, str) else [one.name for one in shape.experts if one.name in named]:
        found["adapter.target_modules"] = experts_refused(experts)
    return found


def _quantized(config: TrainConfig) -> str:
    bits = config.model.quantization.removesuffix("bit")
    return f"{bits}-bit weights with a scale and an offset for each 64 (MLX)"


def _before_load() -> None:
    """Keep torch out of the process, before anything imports transformers.

    Not earlier: `datasets`, which some sources are read with, takes a module that is kept out for one that is there.
    """
    from engine.backends.mlx.no_torch import without_torch

    without_torch()


def _model() -> "type[MlxModel]":
    with without_collector():
        from engine.backends.mlx.causal_lm import MlxModel
    return MlxModel


def _load(
    plan: "Plan", config: TrainConfig, folder: Path, objective: "Objective", *, adapter: Path | None = None
) -> "MlxTrainer":
    model = _model()
    from engine.backends.mlx.trainer import MlxTrainer

    return MlxTrainer(model.load(plan, config, folder, adapter), config, objective)


def _open(
    folder: Path, adapter: Path | None, tokens: Sequence[NewToken], trust_remote_code: bool
) -> "MlxModel":
    return _model().open(folder, adapter, tokens, trust_remote_code)


def _holds(machine: Machine, model_type: str, adapter: Mapping[str, Any] | None) -> bool:
    """Models that mlx-lm knows; LoRA and DoRA of one rank in PEFT's layout."""
    if adapter is not None and (
        adapter.get("peft_type") != "LORA" or any(adapter.get(name) for name in OWN_RANKS)
    ):
        return False
    return model_type in machine.mlx_architectures


SPEC = BackendSpec(
    name="mlx",
    order=10,
    home="mps",
    away="without Apple's GPU it is slower than torch",
    devices={
        "mps": Capability(
            ("bf16", "fp16", "fp32"),
            ("none", "8bit", "4bit"),
            ADAPTERS,
            INITS,
            vocabulary=True,
            note="made for Apple silicon",
        ),
        "cpu": Capability(
            ("bf16", "fp16", "fp32"),
            ("none", "8bit", "4bit"),
            ADAPTERS,
            INITS,
            exact_resume=True,
            vocabulary=True,
            auto_precision=("fp32", "the most exact, and MLX on the CPU is for small models"),
        ),
    },
    packages=("mlx", "mlx_lm"),
    packages_on={"Linux": ("mlx_cpu",)},  # there the package mlx itself has nothing that computes
    optional_packages=("mlx_train_perf",),
    install="pip install mlx-lm, and on Linux also 'mlx[cpu]'",
    support=SUPPORT,
    refusals=refusals,
    attention=attention,
    kernels=kernels,
    quantized=_quantized,
    predict=memory_model.predict,
    before_load=_before_load,
    load=_load,
    open=_open,
    holds=_holds,
)
