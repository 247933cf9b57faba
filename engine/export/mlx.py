"""Export to a folder that mlx-lm loads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, ModelError
from engine.export.base import Exporter, Heartbeat
from engine.runs.directory.trained_model import TrainedModel

MLX = Exporter(
    "mlx",
    write="engine.export.mlx:write",
    needs=("mlx", "mlx_lm"),
    install="pip install mlx-lm, and on Linux also 'mlx[cpu]'",
    prove="engine.parity.mlx_model:open_folder",
    quantizations=("none", "8bit", "4bit"),
)


def write(
    model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
) -> Mapping[str, Any]:
    """Write the model; the option `quantization` is none, 8bit or 4bit. See `engine.backends.mlx.convert`.

    The facts are `quantization`: the settings in the written config.json, None where the weights are not quantised.
    """
    from engine.backends.mlx.convert import convert

    if unknown := options.keys() - {"quantization"}:
        raise ConfigError(f"Export to mlx has no option {min(unknown)}.", "Its only option is quantization.")
    if model.adapter is not None:
        raise ModelError(
            "Export to mlx writes whole models, and this one is an adapter beside its base.",
            f"Merge it first, or convert the base alone: ft models convert {model.base}",
        )
    heartbeat()
    return {"quantization": convert(model.base_folder(), out, options.get("quantization", "none"))}
