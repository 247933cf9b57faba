"""Which backend answers: on a Mac, MLX where it knows the model and its adapter; torch everywhere else."""

from pathlib import Path

from engine.capabilities import BackendName
from engine.errors import ModelError
from engine.hardware.probe import probe
from engine.models import adapter_files
from engine.models.local import read_config

HELD = frozenset(("LORA",))
"""PEFT's types of adapters that MLX holds: LoRA and DoRA, of one rank."""
OWN_RANKS = ("rank_pattern", "alpha_pattern")


def backend_for(base: Path, adapter: Path | None) -> BackendName:
    """`mlx` or `peft`, for answers of the model in `base` with the adapter in `adapter`. Raises ModelError."""
    machine = probe()
    at_home = machine.device == "mps" and "mlx_lm" in machine.packages
    known = read_config(base).get("model_type") in machine.mlx_architectures
    return "mlx" if at_home and known and (adapter is None or _held(adapter)) else "peft"


def _held(adapter: Path) -> bool:
    try:
        settings = adapter_files.read_settings(adapter)
    except ModelError:
        return False  # torch says what is wrong with it
    return settings.get("peft_type") in HELD and not any(settings.get(name) for name in OWN_RANKS)
