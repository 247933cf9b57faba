"""Layers whose exported weights differ most from those of the trained model."""

from collections.abc import Iterable

import numpy as np

from engine.data.types import Float32

MOST = 5


def most_different(
    trained: Iterable[tuple[str, Float32]], exported: Iterable[tuple[str, Float32]], most: int = MOST
) -> tuple[tuple[str, float], ...]:
    """Names of tensors and their relative difference ‖exported - trained‖ / ‖trained‖, the largest first.

    Tensors that only one side has, or that lie in another shape there, say nothing and are left out.
    """
    wanted = dict(exported)
    found = []
    for name, value in trained:
        other = wanted.get(name)
        if other is not None and other.shape == value.shape:
            size = float(np.linalg.norm(value))
            found.append((name, float(np.linalg.norm(other - value)) / size if size else 0.0))
    return tuple(sorted(found, key=lambda pair: -pair[1])[:most])
