"""Export to a folder that mlx-lm loads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.export.base import Exporter, Heartbeat

MLX = Exporter(
    "mlx",
    write="engine.export.mlx:write",
    needs=("mlx", "mlx_lm"),
    install="pip install mlx-lm, and on Linux also 'mlx[cpu]'",
)


def write(model: Path, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat) -> Mapping[str, Any]:
    """Write the model; the option `quantization` is none, 8bit or 4bit. See `engine.backends.mlx.convert`.

    The facts are `quantization`: the settings in the written config.json, None where the weights are not quantised.
    """
    from engine.backends.mlx.convert import convert

    if unknown := options.keys() - {"quantization"}:
        raise ConfigError(f"Export to mlx has no option {min(unknown)}.", "Its only option is quantization.")
    heartbeat()
    return {"quantization": convert(model, out, options.get("quantization", "none"))}
