"""Changes of a recipe that does not fit: the cheapest first, each with the peak that it would leave."""

from collections.abc import Callable, Iterator
from typing import Any

from engine.config.schema import TrainConfig
from engine.errors import FtError
from engine.planning.plan import Plan
from engine.units import size


def advise(config: TrainConfig, plan: Plan, settle: Callable[[TrainConfig], Plan]) -> tuple[str, ...]:
    """Changes of the recipe that make it fit, cheapest first, with the peak that each leaves.

    Single changes where there are any; else all of them together as far as needed; else a smaller model.
    `plan` is the recipe's own, `settle` makes that of a changed recipe; a change that this machine refuses is passed
    over.
    """
    single = []
    for name, changed in _changes(config):
        outcome = _outcome(changed, settle)
        if outcome is not None and outcome.fits == "yes":
            single.append(f"{name}: peak {size(outcome.memory.peak_bytes)}")
    return tuple(single) if single else _together(config, plan, settle)


def _together(config: TrainConfig, plan: Plan, settle: Callable[[TrainConfig], Plan]) -> tuple[str, ...]:
    """Add up changes until it fits; one that saves nothing is left out."""
    peak, limit = plan.memory.peak_bytes, plan.limit_bytes
    names: list[str] = []
    current = config
    while True:
        for name, changed in _changes(current):
            outcome = _outcome(changed, settle)
            if outcome is None or outcome.memory.peak_bytes >= peak:
                continue
            key = name.split(":")[0]
            names = [*(known for known in names if known.split(":")[0] != key), name]
            current, peak = changed, outcome.memory.peak_bytes
            if outcome.fits == "yes":
                return (f"{', '.join(names)}: peak {size(peak)}",)
            break
        else:
            break
    most = f"even with {', '.join(names)} " if names else ""
    return (f"a smaller model: {most}this one needs {size(peak)}, and {size(limit)} are available",)


def _outcome(config: TrainConfig, settle: Callable[[TrainConfig], Plan]) -> Plan | None:
    try:
        return settle(config)
    except FtError:  # this machine refuses the change, so it is no advice
        return None


def _changes(config: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    """Possible changes from the cheapest (nothing is lost but time) to those that cost quality."""
    batch_size, length = config.training.batch_size, config.model.max_seq_length
    if batch_size == "auto" or batch_size > 1:
        yield "batch_size: 1", _with(config, "training", batch_size=1)
    if config.training.gradient_checkpointing is False:
        yield "gradient_checkpointing: true", _with(config, "training", gradient_checkpointing=True)
    if isinstance(config.training.gradient_checkpointing, bool):
        yield "gradient_checkpointing: offload", _with(config, "training", gradient_checkpointing="offload")
    eight = "optimizer: adamw_8bit", _with(config, "training", optimizer="adamw_8bit")
    fp32_moments = config.training.optimizer == "adamw"
    if fp32_moments and config.adapter.type == "none":
        yield eight
    while length // 2 >= SHORTEST:
        length //= 2
        yield f"max_seq_length: {length}", _with(config, "model", max_seq_length=length)
    if config.adapter.type == "none":
        yield "adapter.type: lora", _with(config, "adapter", type="lora")
    elif config.model.quantization != "4bit":
        if config.model.quantization == "none":
            yield "quantization: 8bit", _with(config, "model", quantization="8bit")
        yield "quantization: 4bit", _with(config, "model", quantization="4bit")
    if fp32_moments and config.adapter.type != "none":  # an adapter's are small
        yield eight
    fixed = config.adapter.from_ is not None
    if config.adapter.type == "lora" and config.adapter.rank > SMALLEST_RANK and not fixed:
        yield f"rank: {SMALLEST_RANK}", _with(config, "adapter", rank=SMALLEST_RANK)


SHORTEST = 256
"""Examples cut shorter than this would lose their answers."""
SMALLEST_RANK = 8
"""A lower rank saves little more."""


def _with(config: TrainConfig, section: str, **values: Any) -> TrainConfig:
    changed = getattr(config, section).model_copy(update=values)
    return config.model_copy(update={section: changed})
