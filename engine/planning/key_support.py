"""Support of a backend for the keys of one recipe, on one machine and for one kind of model."""

from engine.backend_spec import ANY, BackendSpec, Capability, KeySupport
from engine.config.adapters import KEYS
from engine.config.schema import TrainConfig
from engine.config.sections import Training
from engine.errors import ConfigError
from engine.hardware.probe import Machine

VOCABULARY_KEYS = ("adapter.modules_to_save", "model.add_tokens")
TOKEN_KEYS = ("model.chat_template", "model.template_variables")
"""Keys that ft itself carries out, before a backend sees a token."""
RATE_KEYS = ("training.lora_plus_ratio", "training.layer_decay")
NOISE_KEY = "training.neftune_alpha"
"""Keys that are left out of a comparison of backends where they say nothing."""
SAME_TOKENS = KeySupport("direct", "ft's own: every backend gets the same tokens")
BF16_CAPABILITY = (8, 0)
"""CUDA compute capability from which there is bf16 arithmetic."""


def values(config: TrainConfig) -> dict[str, str]:
    """The keys of this recipe that backends may take differently, with their values as YAML has them.

    A key that plays no part here, as the type of quantised numbers where nothing is quantised, is left out.
    """
    model, training, targets = config.model, config.training, config.adapter.target_modules
    found: dict[str, object] = {"training.method": training.method, "adapter.type": config.adapter.type}
    if config.adapter.type in KEYS["target_modules"] and config.adapter.type != "none":
        found["adapter.target_modules"] = targets if isinstance(targets, str) else f"[{', '.join(targets)}]"
    if config.adapter.rslora:
        found["adapter.rslora"] = True
    if config.adapter.init != "default":
        found["adapter.init"] = config.adapter.init
    if config.adapter.from_ is not None:
        found["adapter.from"] = config.adapter.from_
    if config.adapter.modules_to_save:
        found["adapter.modules_to_save"] = f"[{', '.join(config.adapter.modules_to_save)}]"
    found["model.quantization"] = model.quantization
    if model.add_tokens:
        found["model.add_tokens"] = f"[{', '.join(model.add_tokens)}]"
    if model.quantization == "4bit":
        found |= {"model.quant_type": model.quant_type, "model.double_quant": model.double_quant}
    found["model.chat_template"] = model.chat_template
    if model.template_variables:
        found["model.template_variables"] = model.template_variables
    if model.trust_remote_code:
        found["model.trust_remote_code"] = True
    found |= {
        "data.packing": config.data.packing,
        "training.precision": training.precision,
        "training.gradient_checkpointing": training.gradient_checkpointing,
        "training.optimizer": training.optimizer,
    }
    for key in (*RATE_KEYS, NOISE_KEY):
        name = key.partition(".")[2]
        if getattr(training, name) != Training.model_fields[name].default:
            found[key] = f"{getattr(training, name):g}"
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in found.items()
    }


def supported(config: TrainConfig, spec: BackendSpec, machine: Machine) -> dict[str, KeySupport]:
    """By key of `values`, the backend's support on the device that `machine` names, which is one of its own."""
    return {key: _support(key, value, spec, machine) for key, value in values(config).items()}


def refusal(config: TrainConfig, spec: BackendSpec, machine: Machine) -> ConfigError | None:
    """The first key that the backend refuses here, as the error to raise."""
    for key, value in values(config).items():
        found = _support(key, value, spec, machine)
        if found.support == "refused":
            return ConfigError(f"{key}: {value} {found.note}", found.hint)
    return None


def _support(key: str, value: str, spec: BackendSpec, machine: Machine) -> KeySupport:
    if key in TOKEN_KEYS:
        return SAME_TOKENS
    if key == "training.precision" and value == "bf16" and machine.device == "cuda" and not has_bf16(machine):
        name = machine.gpu.name if machine.gpu else "this GPU"
        return KeySupport(
            "refused",
            f"is not for {name}, which has no bf16 arithmetic (it came with compute capability 8.0)",
            "Use precision: auto, which takes fp16 here.",
        )
    able = spec.devices[machine.device]
    supports = value in _supported_values(spec, able).get(key, (value,))
    for table in (able.support.get(key, {}), spec.support.get(key, {})):
        found = table.get(value) or table.get(ANY)
        if found is not None and supports == (found.support != "refused"):
            return _with_package(found, machine)
    if supports:
        return KeySupport("direct")
    return KeySupport(
        "refused", f"is not for {spec.name} on this device", "Use backend: auto, or another value."
    )


def _supported_values(spec: BackendSpec, able: Capability) -> dict[str, tuple[str, ...]]:
    """The values that the capability lists, by key; a key that is not here takes any."""
    offload = () if able.offloading == "none" else ("offload",)
    restricted: dict[str, tuple[str, ...]] = {} if able.vocabulary else dict.fromkeys(VOCABULARY_KEYS, ())
    if not able.rates:
        restricted |= dict.fromkeys(RATE_KEYS, ())
    if not able.noise:
        restricted |= {NOISE_KEY: ()}
    if spec.methods is not None:
        restricted["training.method"] = tuple(spec.methods)
    return {
        "adapter.type": able.adapters,
        "adapter.init": able.inits,
        "model.quantization": able.quantizations,
        "training.precision": ("auto", *able.precisions),
        "training.gradient_checkpointing": ("auto", "true", "false", *offload),
        "training.optimizer": able.optimizers,
    } | restricted


def _with_package(found: KeySupport, machine: Machine) -> KeySupport:
    """The support, or the refusal where its package is not installed."""
    if not found.package or machine.has(found.package):
        return found
    return KeySupport(
        "refused",
        f"needs the package {found.package}, not installed here",
        f"Install it with: pip install {found.package}. {found.hint}".strip(),
    )


def has_bf16(machine: Machine) -> bool:
    """Return True if the CUDA GPU multiplies bf16."""
    capability = machine.gpu.capability if machine.gpu else None
    return capability is not None and capability >= BF16_CAPABILITY
