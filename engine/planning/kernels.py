"""Whose kernels compute the loss: ours, or those of an installed package that are made for the device.

On CUDA that is Liger's fused loss, on Apple's GPU the loss and the attention of mlx-train-perf.
"""

from typing import Literal

from engine.capabilities import BackendName, Dtype
from engine.config.adapters import PROMPT_TYPES
from engine.config.schema import TrainConfig
from engine.hardware.probe import Machine
from engine.models.sizing import ModelShape

Kernels = Literal["own", "liger", "mlx-train-perf"]

DTYPES: tuple[Dtype, ...] = ("fp32", "bf16")
HEAD_DIMS = (64, 96, 128)
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
"""What the package says its kernels serve: formats, attention heads and kinds of models (README and
`attention.api` of 0.9.0). mlx-lm runs Mistral as Llama."""
INSTALL = "pip install 'ft-studio[mlx-fast]'"


def choose(
    config: TrainConfig, machine: Machine, backend: BackendName, shape: ModelShape, compute: Dtype
) -> tuple[Kernels, str]:
    """The kernels of a run, and why; no reason where nobody would expect others."""
    if backend == "mlx" and machine.device == "mps":
        return _metal(machine, shape, compute)
    if backend == "peft" and machine.device == "cuda":
        return _triton(config, machine)
    return "own", ""


def _triton(config: TrainConfig, machine: Machine) -> tuple[Kernels, str]:
    """Liger's fused linear cross-entropy, for a head that is frozen and a plain product."""
    if config.adapter.type in PROMPT_TYPES:
        return "own", "the model's own logits, as virtual tokens come in with the whole model"
    if config.adapter.type == "none":
        return "own", "our own loss, in chunks: it adds up the gradient of the output's weights in fp32"
    if "liger_kernel" not in machine.packages:
        return "own", (
            "our own loss, in chunks; where liger-kernel is installed (pip install 'ft-studio[liger]'), "
            "one kernel makes loss and gradient of a chunk"
        )
    return "liger", "liger-kernel is installed: one kernel makes loss and gradient of a chunk of logits"


def _metal(machine: Machine, shape: ModelShape, compute: Dtype) -> tuple[Kernels, str]:
    version = machine.packages.get("mlx_train_perf")
    if version is None:
        return "own", f"MLX's attention and ft's chunked loss: mlx-train-perf is not installed ({INSTALL})"
    against = _against(machine, shape, compute)
    if against:
        return (
            "own",
            f"MLX's attention and ft's chunked loss: mlx-train-perf {version} is installed, but {against}",
        )
    return (
        "mlx-train-perf",
        f"Metal kernels of mlx-train-perf {version}: neither logits nor a mask are held, and attention's memory grows "
        "with a row's length, not with its square",
    )


def _against(machine: Machine, shape: ModelShape, compute: Dtype) -> str:
    """What speaks against the installed kernels; empty where nothing does."""
    mlx = machine.packages.get("mlx", "")
    if mlx not in machine.mlx_verified:
        known = ", ".join(sorted(machine.mlx_verified)) or "none"
        return f"its kernels are not verified for mlx {mlx} (verified: {known})"
    if shape.architecture not in ARCHITECTURES:
        return f"its kernels are for {', '.join(ARCHITECTURES)}, not for {shape.architecture}"
    if shape.head_dim not in HEAD_DIMS:
        sizes = ", ".join(map(str, HEAD_DIMS))
        return f"its kernels take attention heads of {sizes}, and the model's have {shape.head_dim}"
    if compute not in DTYPES:
        return f"its kernels compute in {' and '.join(DTYPES)}, not in {compute}"
    return ""
