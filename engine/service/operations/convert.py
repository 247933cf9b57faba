"""Operation that writes a model in MLX's layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.backend_spec import Quantization
from engine.export.registry import exporter_named
from engine.service.operation import Context, operation


@dataclass(frozen=True)
class ConvertRequest:
    """A model's folder, and the folder that its MLX form is written to."""

    model: Path
    out: Path
    quantization: Quantization


@operation("convert", lane="model")
def convert(context: Context, request: ConvertRequest) -> Mapping[str, Any] | None:
    """Write the MLX form of a model. The answer is the `quantization` of its config."""
    options = {"quantization": request.quantization}
    written = exporter_named("mlx").export(request.model, request.out, options, lambda: None)
    quantization: Mapping[str, Any] | None = written["quantization"]
    return quantization
