"""Where an adapter starts: drawn in numpy, so that a seed means the same start on every backend."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt


def draw_lora_a(
    shapes: Mapping[str, tuple[int, int]], seed: int
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """A fresh A `[rank, inputs]` for every adapted layer, by the layer's path in transformers' model.

    Kaiming-uniform with a = sqrt(5) is U(-1/sqrt(inputs), 1/sqrt(inputs)), PEFT's own choice; B starts at zero.
    Layers draw in the order of their names, so the same seed and layers give the same values.
    """
    draw = np.random.default_rng(seed)
    for name, shape in sorted(shapes.items()):
        bound = shape[1] ** -0.5
        yield name, draw.uniform(-bound, bound, shape).astype(np.float32)


def scaling(alpha: float, rank: int, rank_stabilised: bool = False) -> float:
    """What the low-rank update is multiplied by: alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv:2312.03732)."""
    return alpha / rank**0.5 if rank_stabilised else alpha / rank
