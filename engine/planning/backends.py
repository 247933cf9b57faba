"""Which backend trains: the one asked for, or the first that can here; and why not the others."""

from dataclasses import dataclass
from typing import Literal

from engine.capabilities import BackendName, Device
from engine.errors import ConfigError, FtError, MachineError
from engine.hardware.probe import Machine

NEEDS: dict[BackendName, tuple[tuple[str, ...], str]] = {
    "mlx": (("mlx", "mlx_lm"), "pip install mlx-lm, and on Linux also 'mlx[cpu]'"),
    "peft": (("torch", "transformers", "peft"), "pip install torch transformers peft"),
}
"""The backends in the order in which `auto` tries them: packages, and how to get them."""


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


def choose(
    machine: Machine, wanted: Literal["auto"] | BackendName = "auto", architecture: str | None = None
) -> Chosen:
    """Settle the backend for a model of the kind `architecture` (config.json's `model_type`).

    Raises MachineError where the backend is not installed, ConfigError where it was asked for by name and
    does not know the model.
    """
    found = standings(machine, architecture)
    if wanted != "auto":
        one = next(one for one in found if one.backend == wanted)
        if one.problem is not None:
            raise one.problem
        return Chosen(one.backend, one.device, one.note, f"{one.note}, as train.yml asks")
    passed_over: list[str] = []
    for one in found:
        against = one.unasked or (one.problem.message.rstrip(".") if one.problem else "")
        if not against:
            return Chosen(one.backend, one.device, one.note, "; ".join([one.note, *passed_over]))
        passed_over.append(f"not {one.backend}: {against}")
    problem = found[-1].problem
    assert problem is not None  # `auto` never leaves the last one alone
    raise problem


def standings(machine: Machine, architecture: str | None = None) -> list[Standing]:
    """Every backend that a recipe can name, in the order in which `auto` tries them."""
    return [_mlx(machine, architecture), _peft(machine)]


def _mlx(machine: Machine, architecture: str | None) -> Standing:
    apple = machine.device == "mps"
    problem: FtError | None = _missing("mlx", machine)
    if problem is None and architecture is not None and architecture not in machine.mlx_architectures:
        problem = ConfigError(
            f"backend: mlx-lm {machine.packages['mlx_lm']} has no model of the kind {architecture}",
            "Use backend: auto or peft, which take what transformers knows; or a newer mlx-lm.",
        )
    if apple:
        return Standing("mlx", "mps", f"mlx on {machine.gpu_name}: made for Apple silicon", problem, "")
    note = f"mlx on the CPU ({_cores(machine)})"
    return Standing("mlx", "cpu", note, problem, "it is slower than torch without Apple's GPU")


def _peft(machine: Machine) -> Standing:
    note = f"peft on the CPU ({_cores(machine)}): no GPU that the installed torch can use"
    if machine.device == "cuda":
        note = f"peft on {machine.gpu_name}: a CUDA GPU that this torch was built for"
    elif machine.device == "mps":
        note = f"peft on {machine.gpu_name}: the GPU of Apple silicon, through torch's MPS"
    return Standing("peft", machine.device, note, _missing("peft", machine), "")


def _missing(backend: BackendName, machine: Machine) -> MachineError | None:
    packages, install = NEEDS[backend]
    if backend == "mlx" and machine.system == "Linux":
        packages = (*packages, "mlx_cpu")  # there the package mlx itself has nothing that computes
    missing = [name for name in packages if name not in machine.packages]
    if not missing:
        return None
    return MachineError(
        f"The {backend} backend needs {' and '.join(missing)}, not installed here.",
        f"Install with: {install}",
    )


def _cores(machine: Machine) -> str:
    return f"{machine.cores} {'core' if machine.cores == 1 else 'cores'}"
