"""Whether the Metal kernels of the package mlx-train-perf take the place of MLX's attention and ft's chunked loss."""

from typing import Literal

from engine.capabilities import BackendName, Dtype
from engine.hardware.probe import Machine
from engine.models.sizing import ModelShape

Kernels = Literal["own", "mlx-train-perf"]

DTYPES: tuple[Dtype, ...] = ("fp32", "bf16")
HEAD_DIMS = (64, 96, 128)
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
"""What the package says its kernels serve: formats, attention heads and kinds of models (README and
`attention.api` of 0.9.0). mlx-lm runs Mistral as Llama."""
INSTALL = "pip install 'ft-studio[mlx-fast]'"


def choose(machine: Machine, backend: BackendName, shape: ModelShape, compute: Dtype) -> tuple[Kernels, str]:
    """The kernels of a run, and why; no reason where nobody would expect others."""
    if backend != "mlx" or machine.device != "mps":
        return "own", ""
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
