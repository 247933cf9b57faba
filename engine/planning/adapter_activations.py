"""What adapters other than LoRA keep for the backward pass: PEFT's own layers have no saving forms."""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.config.adapters import AdapterType
from engine.models.sizing import ModelShape


@dataclass(frozen=True)
class SavedActivations:
    """Of every adapted layer, beside what a plain layer keeps; read from PEFT's layers, and measured."""

    inputs: int = 0
    """Tensors as wide as its inputs, a token."""
    outputs: int = 0
    """Tensors as wide as its outputs, a token."""
    matrices: int = 0
    """fp32 matrices of the layer's own size."""
    squares: int = 0
    """fp32 matrices as high and wide as its inputs; one of them is there all the time."""


KEPT: Mapping[AdapterType, SavedActivations] = {
    "dora": SavedActivations(outputs=2),
    "adalora": SavedActivations(),
    "ia3": SavedActivations(outputs=1),
    "loha": SavedActivations(matrices=2),
    "lokr": SavedActivations(matrices=1),
    "oft": SavedActivations(inputs=1),
    "boft": SavedActivations(matrices=2, squares=6),
    "vera": SavedActivations(outputs=1),
}
"""The types that run PEFT's layers; LoRA has forms of our own, and virtual tokens change no layer."""


def wide(shape: ModelShape, kept: SavedActivations) -> int:
    """Numbers that the adapted layers of one block keep for one token."""
    numbers = sum(
        (kept.inputs * layer.inputs + kept.outputs * layer.outputs) * layer.count for layer in shape.linears
    )
    return numbers // shape.layers


def matrix_bytes(shape: ModelShape, kept: SavedActivations, checkpointing: bool) -> int:
    """Matrices made for the pass: of all blocks, or of the one that is computed again."""
    own = sum(layer.inputs * layer.outputs * layer.count for layer in shape.linears)
    square = sum(layer.inputs**2 * layer.count for layer in shape.linears) if kept.squares else 0
    made = kept.matrices * own + max(kept.squares - 1, 0) * square
    return 4 * (square + made // (shape.layers if checkpointing else 1))
