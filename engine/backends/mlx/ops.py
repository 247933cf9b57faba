"""The operations of objectives on MLX's arrays."""

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt


class MlxOps:
    """See `engine.objectives.base.Ops`."""

    def array(self, values: npt.NDArray[Any]) -> mx.array:
        return mx.array(values)

    def take(self, values: mx.array, places: npt.NDArray[np.integer]) -> mx.array:
        return values[mx.array(places.astype(np.int32))]

    def sum_by(self, values: mx.array, groups: npt.NDArray[np.integer], count: int) -> mx.array:
        return mx.zeros(count).at[mx.array(groups.astype(np.int32))].add(values)

    def log_sigmoid(self, values: mx.array) -> mx.array:
        return -mx.logaddexp(mx.zeros_like(values), -values)

    def exp(self, values: mx.array) -> mx.array:
        return mx.exp(values)

    def maximum(self, values: mx.array, least: float) -> mx.array:
        return mx.maximum(values, least)

    def constant(self, values: mx.array) -> mx.array:
        return mx.stop_gradient(values)
