"""The operation that sizes a model without its weights, where only transformers can."""

from dataclasses import dataclass
from pathlib import Path

from engine.models.shape import ModelShape
from engine.service.operation import Context, operation


@dataclass(frozen=True)
class ConfigFolder:
    """A folder with a model's config.json."""

    folder: Path


@operation("shape", lane="plan")
def shape(context: Context, request: ConfigFolder) -> ModelShape:
    """The model's shape. Raises ModelError where its config does not tell it."""
    from engine.models.sizing import shape_of

    return shape_of(request.folder)
