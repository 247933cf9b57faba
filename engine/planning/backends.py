"""Which backend trains: the one asked for, or the first that can here; and why not the others."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from engine import plugins
from engine.capabilities import BackendName, Device, plugin
from engine.config.schema import TrainConfig
from engine.errors import ConfigError, FtError, MachineError, ModelError
from engine.hardware.probe import Machine
from engine.models.sizing import ModelShape
from engine.planning.key_support import refusal

NEEDS: dict[BackendName, tuple[tuple[str, ...], str]] = {
    "mlx": (("mlx", "mlx_lm"), "pip install mlx-lm, and on Linux also 'mlx[cpu]'"),
    "unsloth": (("torch", "transformers", "peft", "unsloth"), "pip install 'ft-studio[cuda]'"),
    "peft": (("torch", "transformers", "peft"), "pip install torch transformers peft"),
}
"""The backends in the order in which `auto` tries them: packages, and how to get them."""

HOME: dict[BackendName, tuple[Device, str]] = {
    "mlx": ("mps", "without Apple's GPU it is slower than torch"),
    "unsloth": ("cuda", "without an NVIDIA GPU it is slower than peft"),
}
"""The device that a backend is made for, and why `auto` does not take it on another."""


@dataclass(frozen=True)
class Standing:
    """One backend on this machine, for this kind of model and this recipe."""

    backend: BackendName
    device: Device
    note: str
    """What it computes on."""
    problem: FtError | None
    """Why it cannot train this here."""
    unasked: str
    """Why `auto` leaves it alone, installed or not; empty where it does not."""


@dataclass(frozen=True)
class Chosen:
    """The backend that trains, its device, and why it and none of the others."""

    backend: BackendName
    device: Device
    note: str
    """What it computes on."""
    reason: str
    """The note, and why none of the others."""


def choose(machine: Machine, config: TrainConfig | None = None, shape: ModelShape | None = None) -> Chosen:
    """Settle the backend for a recipe and a model.

    Raises MachineError where the backend is not installed; ConfigError where it refuses a key of the recipe,
    or was asked for by name and does not know the model.
    """
    if config is not None and config.backend != "auto":
        one = _standing(config.backend, machine, config, shape)
        if one.problem is not None:
            raise one.problem
        return Chosen(one.backend, one.device, one.note, f"{one.note}, as train.yml asks")
    found = [_standing(backend, machine, config, shape) for backend in NEEDS]
    passed_over: list[str] = []
    for one in found:
        against = one.unasked or (one.problem.message.rstrip(".") if one.problem else "")
        if not against:
            return Chosen(one.backend, one.device, one.note, "; ".join([one.note, *passed_over]))
        passed_over.append(f"not {one.backend}: {against}")
    problem = found[-1].problem
    assert problem is not None  # `auto` leaves the last one alone only where it cannot
    raise problem


def standings(
    machine: Machine, config: TrainConfig | None = None, shape: ModelShape | None = None
) -> list[Standing]:
    """Every backend that a recipe can name, in the order in which `auto` tries them; other packages' last.

    Without a recipe or a model, nothing that depends on it speaks against a backend.
    """
    return [
        _standing(backend, machine, config, shape)
        for backend in (*NEEDS, *plugins.installed(plugins.BACKENDS))
    ]


def _standing(
    backend: BackendName, machine: Machine, config: TrainConfig | None, shape: ModelShape | None
) -> Standing:
    if backend not in NEEDS:
        return _brought(backend, machine, config)
    device, note, unasked = _place(backend, machine)
    problem: FtError | None = missing(backend, machine)
    if problem is None and shape is not None:
        problem = unknown(backend, machine, shape.architecture) or _packed(backend, shape)
    if problem is None and config is not None:
        problem = refusal(config, backend, dataclasses.replace(machine, device=device))
    if problem is None and config is not None and shape is not None:
        problem = untrained(backend, config, shape)
    return Standing(backend, device, note, problem, unasked)


def _brought(backend: BackendName, machine: Machine, config: TrainConfig | None) -> Standing:
    """The standing of another package's backend."""
    unasked = "another package brings it, and it is taken when asked for"
    try:
        there = plugin(backend)
    except MachineError as error:
        return Standing(backend, machine.device, "", error, unasked)
    against = there.problem()
    problem: FtError | None = None
    if against:
        problem = MachineError(
            f"The {backend} backend cannot train here: {against}", "Choose another: --set backend=auto"
        )
    if problem is None and config is not None:
        problem = refusal(config, backend, dataclasses.replace(machine, device=there.device))
    return Standing(backend, there.device, f"{backend}: {there.note}", problem, unasked)


def _place(backend: BackendName, machine: Machine) -> tuple[Device, str, str]:
    """Where it would compute, in words too, and why `auto` would not have it there."""
    home, elsewhere = HOME.get(backend, (machine.device, ""))
    if (backend == "mlx" and machine.device != "mps") or (backend == "unsloth" and machine.device == "mps"):
        device: Device = "cpu"  # ft uses MLX on no other GPU, and Unsloth on CUDA alone
    else:
        device = machine.device
    unasked = "" if device == home else elsewhere
    if device == "cuda":
        return device, f"{backend} on {machine.gpu_name}: a CUDA GPU that this torch was built for", unasked
    if device == "mps":
        way = (
            "made for Apple silicon" if backend == "mlx" else "the GPU of Apple silicon, through torch's MPS"
        )
        return device, f"{backend} on {machine.gpu_name}: {way}", unasked
    cpu = f"{backend} on the CPU ({machine.cores} {'core' if machine.cores == 1 else 'cores'})"
    return device, cpu if unasked else f"{cpu}: no GPU that the installed torch can use", unasked


def unknown(backend: BackendName, machine: Machine, architecture: str) -> ConfigError | None:
    """Why the backend has no code for this kind of model; transformers says so itself when it loads one."""
    version = machine.packages.get("mlx_lm")
    if backend != "mlx" or version is None or architecture in machine.mlx_architectures:
        return None
    return ConfigError(
        f"backend: mlx-lm {version} has no code for models of the kind {architecture}",
        "Use backend: peft, which takes what transformers knows, or a newer mlx-lm.",
    )


def _packed(backend: BackendName, shape: ModelShape) -> ModelError | None:
    """Why the backend cannot compute with the weights as another program has packed them; mlx-lm reads them itself."""
    return shape.packed.refused("The model") if shape.packed and backend != "mlx" else None


def untrained(backend: BackendName, config: TrainConfig, shape: ModelShape) -> ConfigError | None:
    """Why the backend cannot train the layers that the recipe names."""
    named = config.adapter.target_modules
    experts = [] if isinstance(named, str) else [one.name for one in shape.experts if one.name in named]
    return experts_refused(experts) if backend == "mlx" and experts else None


def experts_refused(names: Sequence[str]) -> ConfigError:
    """What to raise where a recipe for MLX names a mixture's experts."""
    return ConfigError(
        f"adapter.target_modules: {', '.join(names)} are a mixture's experts, which ft does not train with MLX",
        "Use backend: peft, or leave them out.",
    )


def missing(backend: BackendName, machine: Machine) -> MachineError | None:
    """What has to be installed before the backend can be used here."""
    packages, install = NEEDS[backend]
    if backend == "mlx" and machine.system == "Linux":
        packages = (*packages, "mlx_cpu")  # there the package mlx itself has nothing that computes
    if backend == "unsloth" and machine.system != "Linux":
        return MachineError(
            "ft uses Unsloth on Linux alone.", "Use backend: auto, which takes what fits here."
        )
    absent = [name for name in packages if name not in machine.packages]
    if not absent:
        return None
    return MachineError(
        f"The {backend} backend needs {' and '.join(absent)}, not installed here.",
        f"Install with: {install}",
    )
