"""What a backend makes of the keys of one recipe, on one machine, for one kind of model."""

from engine.capabilities import ANY, ON_DEVICE, TRANSLATIONS, BackendName, KeySupport, capability
from engine.config.adapters import KEYS
from engine.config.schema import TrainConfig
from engine.errors import ConfigError
from engine.hardware.probe import Machine

OF_VOCABULARY = ("adapter.modules_to_save", "model.add_tokens")


def values(config: TrainConfig) -> dict[str, str]:
    """The keys of this recipe that backends may take differently, with their values as YAML has them.

    A key that plays no part here, as the type of quantised numbers where nothing is quantised, is left out.
    """
    model, training, targets = config.model, config.training, config.adapter.target_modules
    found: dict[str, object] = {"adapter.type": config.adapter.type}
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
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in found.items()
    }


def translations(config: TrainConfig, backend: BackendName, machine: Machine) -> dict[str, KeySupport]:
    """By key of `values`, what the backend makes of it on the device that `machine` names."""
    return {key: _of(key, value, backend, machine) for key, value in values(config).items()}


def refusal(config: TrainConfig, backend: BackendName, machine: Machine) -> ConfigError | None:
    """The first key that the backend refuses here, as the error to raise."""
    for key, value in values(config).items():
        found = _of(key, value, backend, machine)
        if found.support == "refused":
            return ConfigError(f"{key}: {value} {found.note}", found.hint)
    return None


def _of(key: str, value: str, backend: BackendName, machine: Machine) -> KeySupport:
    able = capability(backend, machine.device)
    known: dict[str, tuple[str, ...]] = {
        "adapter.type": able.adapters,
        "adapter.init": able.inits,
        "model.quantization": able.quantizations,
        "training.precision": ("auto", *able.precisions),
        "training.gradient_checkpointing": (
            "auto",
            "true",
            "false",
            *(("offload",) if able.offloads else ()),
        ),
        "training.optimizer": able.optimizers,
    }
    if key in OF_VOCABULARY:
        known[key] = (value,) if able.vocabulary else ()
    missing = _missing(key, value, backend, machine)
    if missing is not None:
        return missing
    able_to = value in known.get(key, (value,))
    for table in (ON_DEVICE.get((backend, machine.device, key), {}), TRANSLATIONS.get((backend, key), {})):
        found = table.get(value) or table.get(ANY)
        if found is not None and able_to == (found.support != "refused"):
            return found
    if able_to:
        return KeySupport("direct")
    return KeySupport(
        "refused", f"is not for {backend} on this device", "Use backend: auto, or another value."
    )


def _missing(key: str, value: str, backend: BackendName, machine: Machine) -> KeySupport | None:
    """What this one machine lacks for a value that the backend can do on such a device."""
    if backend == "mlx":
        return None
    if key == "model.quantization" and value != "none" and "bitsandbytes" not in machine.packages:
        return KeySupport(
            "refused",
            "needs the package bitsandbytes, not installed here",
            "Install it with: pip install bitsandbytes, or use quantization: none.",
        )
    if key == "training.optimizer" and value != "adamw" and "bitsandbytes" not in machine.packages:
        return KeySupport(
            "refused",
            "needs the package bitsandbytes, not installed here",
            "Install it with: pip install bitsandbytes, or use optimizer: adamw.",
        )
    if key == "training.precision" and value == "bf16" and machine.device == "cuda" and not has_bf16(machine):
        return KeySupport(
            "refused",
            f"is not for {machine.gpu_name}, which has no bf16 arithmetic (it came with compute capability 8.0)",
            "Use precision: auto, which takes fp16 here.",
        )
    return None


def has_bf16(machine: Machine) -> bool:
    """Whether the CUDA GPU multiplies bf16."""
    return machine.gpu_capability is not None and machine.gpu_capability >= (8, 0)
