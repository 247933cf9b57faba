"""How fast training really is on this machine: a finished run leaves its figure for the next plan."""

import json
import tempfile
from pathlib import Path

from engine import paths


def _file() -> Path:
    return paths.cache() / "speed.json"


def known() -> dict[str, float]:
    """FLOP/s reached by the last run, by `key`; empty before the first."""
    try:
        body = json.loads(_file().read_text())
    except (OSError, ValueError):  # a cache that cannot be read is one that is not there
        return {}
    if not isinstance(body, dict):
        return {}
    return {key: float(value) for key, value in body.items() if isinstance(value, int | float) and value > 0}


def key(backend: str, device: str, compute_dtype: str) -> str:
    """What a figure is kept under: torch's backends as `cpu/bf16`, MLX, whose speed is another, as `mlx/cpu/fp32`."""
    return f"{'mlx/' if backend == 'mlx' else ''}{device}/{compute_dtype}"


def remember(under: str, flops_per_second: float) -> None:
    """Keep a finished run's figure under its `key`; the newest counts. Raises OSError where it cannot be kept."""
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    body = known() | {under: flops_per_second}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(json.dumps(body, sort_keys=True))
    Path(file.name).replace(path)
