"""The contract of a backend, as planning sees it: one light descriptor for ft's own and for other packages' alike.

A `BackendSpec` lies beside the code that it describes and is found by name through the entry point group
`ft.backends` (`engine.plugins`). Reading one must import nothing heavy: whoever plans a run reads it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from engine import plugins
from engine.config.adapters import AdapterType
from engine.config.schema import TrainConfig
from engine.data.tokenization.new_tokens import NewToken
from engine.errors import FtError, MachineError
from engine.hardware.probe import Machine
from engine.models.shape import ModelShape

BackendName = str
"""mlx, unsloth, peft, or the name of another package's backend."""
Device = Literal["cpu", "cuda", "mps"]
Dtype = Literal["bf16", "fp16", "fp32"]
Quantization = Literal["none", "8bit", "4bit"]
Attention = Literal["sdpa", "flash_attention_2", "eager"]
Support = Literal["direct", "emulated", "refused"]

BYTES: Mapping[Dtype, int] = {"bf16": 2, "fp16": 2, "fp32": 4}
"""Bytes of one number."""
ANY = "*"
"""Stands for every value of a key in a support table."""


@dataclass(frozen=True)
class KeySupport:
    """Support for one value of a recipe's key: taken as it is, reached by other means, or refused."""

    support: Support
    note: str = ""
    """The means; where it is refused, the reason, as a sentence that begins with the value."""
    hint: str = ""
    """The way out where it is refused, or where `package` is missing: "Use optimizer: adamw."."""
    package: str = ""
    """Package without which the value is refused."""


SupportTable = Mapping[str, Mapping[str, KeySupport]]
"""By key of the recipe, and then by value as YAML writes it (`ANY` for every one). Keys and values that it does not
name are supported as far as the capability says."""


@dataclass(frozen=True)
class Capability:
    """Values of the recipe that a backend supports on one device; all others are refused."""

    precisions: tuple[Dtype, ...]
    quantizations: tuple[Quantization, ...]
    adapters: tuple[str, ...]
    inits: tuple[str, ...] = ("default",)
    optimizers: tuple[str, ...] = ("adamw",)
    exact_resume: bool = False
    """A resumed run gives the same bytes as one that was never stopped."""
    vocabulary: bool = False
    """Embedding and output layer can be trained beside an adapter, and rows for new tokens added."""
    rates: bool = False
    """Parameters can learn at rates of their own (LoRA+, layer-wise decay)."""
    noise: bool = False
    """Noise can be added to the embeddings (NEFTune)."""
    offloading: Literal["none", "planned", "built-in"] = "none"
    """Checkpointing can move what it keeps to host memory: only where the plan asks for it (and counts that memory),
    or always, as part of the backend's own checkpointing."""
    note: str = ""
    """The computing device in a few words, as the reason for the choice."""
    support: SupportTable = field(default_factory=dict)
    """Support on this device only; it takes precedence over `BackendSpec.support`."""
    auto_precision: tuple[Dtype, str] | None = None
    """Arithmetic for `precision: auto` and its reason, where the general rule for the device does not apply. A format
    that the recipe names is then computed in as it is."""
    free_packing: str = ""
    """Reason why packed rows cost nothing here; empty where a mask has to keep their examples apart."""
    core_flops: Mapping[Dtype, float] = field(default_factory=dict)
    """FLOP/s of one CPU core in training: the estimate until a run has finished. Empty where none is known."""


@dataclass(frozen=True)
class Kernels:
    """Kernels that compute the loss: ft's own, or those of an installed package."""

    name: str = "own"
    """The package's name."""
    reason: str = ""
    """Empty where no others could be expected."""
    attend: bool = False
    """They compute attention too, from each example's bounds: without scores or a mask."""


@dataclass(frozen=True)
class MemoryPlan:
    """Predicted peak bytes of the engine by part, on the device that trains."""

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    overhead: int

    @property
    def peak_bytes(self) -> int:
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by the name of the part, in reading order."""
        return asdict(self)


@dataclass(frozen=True)
class Load:
    """Everything that memory depends on besides the model's shape."""

    device: Device
    weights: Dtype
    compute: Dtype
    quantization: Quantization
    double_quant: bool
    trained: int
    """Trained parameters: the adapter's, or all of them."""
    rank: int
    """The adapter's rank, 1 where it has none; 0 when every weight is trained."""
    adapter: AdapterType
    dropout: bool
    tokens: int
    """Most tokens in a micro-batch, padding counted."""
    longest: int
    """Tokens of the longest example."""
    trained_share: float
    """Share of tokens that the loss counts."""
    checkpointing: bool
    offloading: bool = False
    """With checkpointing: the layers' inputs wait in host memory."""
    kernels: str = "own"
    """Name of the kernels that compute the loss (`Kernels.name`)."""
    vocabulary: int = 0
    """Trained parameters of embedding and output layer beside an adapter, among `trained`."""
    head: bool = False
    """The output layer's weights are trained, or those of an embedding that it may be tied to."""
    moment_bytes: int = 4
    """Bytes of each of AdamW's two moments of a trained weight: 1 where bitsandbytes holds them."""


class Loader(Protocol):
    """Brings up a trainer (`engine.backends.base.Trainer`) in the engine's process; imports what it likes.

    Takes the settled plan, the recipe, the model's folder and the objective (`engine.objectives.base.Objective`);
    starts from the adapter in `adapter`, or a fresh one. Raises ModelError where the folder does not load and
    OutOfMemoryError where it does not fit.
    """

    def __call__(
        self, plan: Any, config: TrainConfig, folder: Path, objective: Any, *, adapter: Path | None = None
    ) -> Any: ...


class Opener(Protocol):
    """Opens a model (`engine.backends.base.Model`) for answers and scores, on the fastest device of this machine.

    Takes the model's folder, that of an adapter or None, the tokens that were added for it, and whether the model's own
    code may run. Raises ModelError.
    """

    def __call__(
        self, folder: Path, adapter: Path | None, tokens: Sequence[NewToken], trust_remote_code: bool
    ) -> Any: ...


class SharedOpener(Protocol):
    """Opens a model with several LoRA adapters by name, to answer through its decoder, each row with its own.

    Takes the model's folder, the adapters' folders, and whether the model's own code may run. Raises ModelError, and
    ConfigError where an adapter cannot share its base.
    """

    def __call__(self, folder: Path, adapters: Mapping[str, Path], trust_remote_code: bool) -> Any: ...


def _holds_all(machine: Machine, model_type: str, adapter: Mapping[str, Any] | None) -> bool:
    return True


def _nothing() -> None:
    """Prepare nothing."""


def _no_problem(machine: Machine) -> str:
    return ""


def _refuses_nothing(
    machine: Machine, shape: ModelShape, config: TrainConfig | None
) -> Mapping[str, FtError]:
    return {}


def _own_attention(machine: Machine, compute: Dtype) -> tuple[Attention, str]:
    return "sdpa", "the backend's own fused attention"


def _own_kernels(config: TrainConfig, machine: Machine, shape: ModelShape, compute: Dtype) -> Kernels:
    return Kernels()


def _described(config: TrainConfig) -> str:
    return f"{config.model.quantization.removesuffix('bit')}-bit weights"


def _no_host_bytes(shape: ModelShape, load: Load) -> int:
    return 0


@dataclass(frozen=True)
class BackendSpec:
    """A backend: where it runs, what it supports, what it needs, and how to load it."""

    name: BackendName
    devices: Mapping[Device, Capability]
    """Devices that it computes on, the preferred one first."""
    load: Loader
    predict: Callable[[ModelShape, Load], MemoryPlan]
    """Peak memory by part."""

    open: Opener | None = None
    """None where it only trains, and another backend answers for it."""
    open_shared: SharedOpener | None = None
    """None where every adapter needs a base of its own."""
    holds: Callable[[Machine, str, Mapping[str, Any] | None], bool] = _holds_all
    """True where `open` takes models of that `model_type`, with an adapter of those settings (adapter_config.json)."""

    order: int | None = None
    """Place in the order in which `backend: auto` tries backends; None where it has to be named in the recipe."""
    home: Device | None = None
    """The device that it is made for: `auto` takes it on no other. None where it is at home on all of `devices`."""
    away: str = ""
    """Reason why `auto` does not take it on another device."""
    packages: tuple[str, ...] = ()
    """Distributions that it needs, with underscores in their names."""
    packages_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """More of them on one operating system (`platform.system()`)."""
    optional_packages: tuple[str, ...] = ()
    """Distributions that it uses where they are installed."""
    install: str = ""
    """Command that installs the packages."""
    problem: Callable[[Machine], str] = _no_problem
    """Reason why it cannot train on this machine, whatever is installed; empty where it can."""

    methods: frozenset[str] | None = None
    """Values of `training.method`; None where any objective trains, as all of ft's own backends let it."""
    tasks: frozenset[str] = frozenset({"causal-lm"})
    """Tasks that a model may be trained for."""
    distributed: frozenset[str] = frozenset()
    """Strategies to train on several GPUs: "ddp", "fsdp"."""
    support: SupportTable = field(default_factory=dict)
    """By key and value of the recipe, on every device."""
    refusals: Callable[[Machine, ModelShape, TrainConfig | None], Mapping[str, FtError]] = _refuses_nothing
    """Errors by key of the recipe, for kinds of models and layers that it cannot train. Without a recipe, those that
    depend on the model alone."""

    attention: Callable[[Machine, Dtype], tuple[Attention, str]] = _own_attention
    """Implementation of attention for products in that format, and its reason."""
    kernels: Callable[[TrainConfig, Machine, ModelShape, Dtype], Kernels] = _own_kernels
    """Kernels of a run."""
    quantized: Callable[[TrainConfig], str] = _described
    """The format of quantised weights, in words."""
    widens: bool = False
    """Frozen weights may be held in another format than products are computed in, and are widened layer by layer."""
    host_bytes: Callable[[ModelShape, Load], int] = _no_host_bytes
    """Pinned host memory for what is offloaded."""

    before_import: Callable[[], None] = _nothing
    """Called in the engine's process once the backend is chosen, before anything imports a library of models."""
    before_load: Callable[[], None] = _nothing
    """Called in the engine's process when the data is prepared and the plan is made, right before `load`."""
    speed_prefix: str | None = None
    """Put in front of the names under which measured speeds are stored; None for the backend's name."""

    def speed_key(self, device: Device, compute: Dtype) -> str:
        """Name under which the speed of this backend is stored: `cpu/bf16` for torch, `mlx/cpu/fp32` for MLX."""
        prefix = f"{self.name}/" if self.speed_prefix is None else self.speed_prefix
        return f"{prefix}{device}/{compute}"

    def device_on(self, machine: Machine) -> Device:
        """The device that it computes on here: the machine's own where it can, else the CPU or its preferred one."""
        if machine.device in self.devices:
            return machine.device
        return "cpu" if "cpu" in self.devices else next(iter(self.devices))

    def packages_for(self, system: str) -> tuple[str, ...]:
        """Distributions that it needs on an operating system."""
        return (*self.packages, *self.packages_on.get(system, ()))


OLD_CONTRACT = "engine.capabilities"
"""Module that backends of other packages imported their contract from before there was a `BackendSpec`."""


def spec_of(name: BackendName) -> BackendSpec:
    """The backend of that name. Raises MachineError where its package does not load, or holds something else."""
    try:
        found = plugins.load_as(plugins.BACKENDS, name, BackendSpec)
    except MachineError as error:
        if getattr(error.__cause__, "name", None) != OLD_CONTRACT:
            raise
        raise MachineError(
            f"backend: {name} was made for an earlier version of ft: "
            f"{OLD_CONTRACT}.Plugin is now engine.backend_spec.BackendSpec",
            "Update its package (docs/backends.md has the contract), or use backend: auto.",
        ) from error
    if found.name != name:
        raise MachineError(
            f"backend: {name} names the BackendSpec of a backend that calls itself {found.name}",
            "Its package has to give both the same name; use backend: auto.",
        )
    return found


def backend_names() -> tuple[BackendName, ...]:
    """Every backend that a recipe can name; ft's own first."""
    return tuple(plugins.installed(plugins.BACKENDS))


@cache
def backend_specs() -> tuple[BackendSpec, ...]:
    """Every backend that loads; those that `auto` may take first, in the order in which it tries them."""
    found = []
    for name in backend_names():
        try:
            found.append(spec_of(name))
        except MachineError:  # choosing it by name says why
            continue
    return tuple(sorted(found, key=lambda spec: (spec.order is None, spec.order or 0)))


def backend_packages() -> tuple[str, ...]:
    """Distributions that backends need or use, each once."""
    found = (
        (
            *spec.packages,
            *(name for more in spec.packages_on.values() for name in more),
            *spec.optional_packages,
        )
        for spec in backend_specs()
    )
    return tuple(dict.fromkeys(name for names_of_spec in found for name in names_of_spec))
