"""The backend that trains: the one asked for, or the first that can here; and why not the others."""

import dataclasses
from dataclasses import dataclass

from engine.backend_spec import BackendName, BackendSpec, Device, backend_names, backend_specs, spec_of
from engine.config.schema import TrainConfig
from engine.errors import FtError, MachineError
from engine.hardware.probe import Machine
from engine.models.shape import ModelShape
from engine.planning.held import as_held
from engine.planning.key_support import refusal

NEVER_UNASKED = "`auto` never takes it: name it in train.yml"


@dataclass(frozen=True)
class Candidate:
    """One backend on this machine, for this kind of model and this recipe."""

    backend: BackendName
    device: Device
    note: str
    """The computing device, in words; empty where the backend's package does not load."""
    problem: FtError | None
    """Error that it would raise here; None where it can train."""
    unasked: str
    """Reason why `auto` does not take it, installed or not; empty where it does."""
    spec: BackendSpec | None
    """None where the backend's package does not load."""


@dataclass(frozen=True)
class Chosen:
    """The backend that trains and its device, settled once: everything after it is planned for these."""

    spec: BackendSpec
    device: Device
    note: str
    """The computing device, in words."""
    reason: str
    """The note, and why none of the others."""

    @property
    def backend(self) -> BackendName:
        return self.spec.name


def choose_backend(
    machine: Machine, config: TrainConfig | None = None, shape: ModelShape | None = None
) -> Chosen:
    """Choose the backend for a recipe and a model; without them, nothing that depends on them speaks against one.

    Raises MachineError where the backend is not installed; ConfigError where it refuses a key of the recipe,
    or was asked for by name and does not know the model.
    """
    config = as_held(config, shape) if config is not None else None
    if config is not None and config.backend != "auto":
        asked = _candidate(spec_of(config.backend), machine, config, shape)
        if asked.problem is not None:
            raise asked.problem
        return _chosen(asked, f"{asked.note}, as set in train.yml")
    passed_over: list[str] = []
    problem: FtError | None = None
    for one in (
        _candidate(spec, machine, config, shape) for spec in backend_specs() if spec.order is not None
    ):
        against = one.unasked or (one.problem.message.rstrip(".") if one.problem else "")
        if not against:
            return _chosen(one, "; ".join([one.note, *passed_over]))
        passed_over.append(f"not {one.backend}: {against}")
        problem = one.problem or problem
    assert problem is not None  # `auto` leaves the last one alone only where it cannot train
    raise problem


def candidates(
    machine: Machine, config: TrainConfig | None = None, shape: ModelShape | None = None
) -> list[Candidate]:
    """Every backend that a recipe can name, in the order in which `auto` tries them; those that it never takes last."""
    loaded = backend_specs()
    broken = [name for name in backend_names() if name not in {spec.name for spec in loaded}]
    return [
        *(_candidate(spec, machine, config, shape) for spec in loaded),
        *(_broken(name, machine) for name in broken),
    ]


def missing(spec: BackendSpec, machine: Machine) -> MachineError | None:
    """The error where a package that the backend needs is not installed."""
    absent = [name for name in spec.packages_for(machine.system) if not machine.has(name)]
    if not absent:
        return None
    return MachineError(
        f"The {spec.name} backend needs {' and '.join(absent)}, not installed here.",
        f"Install with: {spec.install or 'pip install ' + ' '.join(absent)}",
    )


def model_refusals(
    spec: BackendSpec, machine: Machine, config: TrainConfig | None, shape: ModelShape | None
) -> dict[str, FtError]:
    """Errors by key of the recipe for what the backend cannot train of this kind of model."""
    return {} if shape is None else dict(spec.refusals(machine, shape, config))


def _chosen(candidate: Candidate, reason: str) -> Chosen:
    assert candidate.spec is not None  # a package that does not load is a problem
    return Chosen(candidate.spec, candidate.device, candidate.note, reason)


def _broken(name: BackendName, machine: Machine) -> Candidate:
    """A backend whose package does not load."""
    try:
        spec_of(name)
    except MachineError as error:
        return Candidate(name, machine.device, "", error, NEVER_UNASKED, None)
    raise AssertionError(f"{name} loads after all")


def _candidate(
    spec: BackendSpec, machine: Machine, config: TrainConfig | None, shape: ModelShape | None
) -> Candidate:
    device = spec.device_on(machine)
    unasked = NEVER_UNASKED if spec.order is None else spec.away if spec.home not in (None, device) else ""
    here = dataclasses.replace(machine, device=device)
    problem = _problem(spec, machine, device)
    if problem is None:
        found = model_refusals(spec, machine, config, shape)
        of_model = found.pop("model.base", None)
        problem = of_model or (config and refusal(config, spec, here)) or next(iter(found.values()), None)
    return Candidate(spec.name, device, _note(spec, machine, device), problem, unasked, spec)


def _problem(spec: BackendSpec, machine: Machine, device: Device) -> FtError | None:
    """The error that does not depend on recipe and model."""
    if against := spec.problem(machine):
        return MachineError(
            f"The {spec.name} backend cannot train here: {against.rstrip('.')}.",
            "Use backend: auto, which takes what fits here.",
        )
    if device not in ("cpu", machine.device):
        kind = {"cuda": "an NVIDIA GPU that torch can use", "mps": "Apple's GPU"}[device]
        return MachineError(
            f"The {spec.name} backend needs {kind}; this machine has none.",
            "Use backend: auto, which takes what fits here.",
        )
    return missing(spec, machine)


def _note(spec: BackendSpec, machine: Machine, device: Device) -> str:
    """The computing device, in words."""
    cores = f"{machine.cores} {'core' if machine.cores == 1 else 'cores'}"
    place = f"the CPU ({cores})" if device == "cpu" else machine.gpu.name if machine.gpu else device
    note = spec.devices[device].note
    return f"{spec.name} on {place}" + (f": {note}" if note else "")
