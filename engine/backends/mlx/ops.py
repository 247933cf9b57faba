"""The operations of objectives on MLX's arrays."""

import math
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

    def log1m_exp(self, values: mx.array) -> mx.array:
        # Either form loses all its digits at one end (Maechler 2012, "Accurately computing log(1 - exp(-|a|))").
        near = values > -math.log(2)
        far = mx.log1p(-mx.exp(mx.where(near, -1.0, values)))
        return mx.where(near, mx.log(-mx.expm1(mx.where(near, values, -0.5))), far)

    def exp(self, values: mx.array) -> mx.array:
        return mx.exp(values)

    def maximum(self, values: mx.array, least: float) -> mx.array:
        return mx.maximum(values, least)

    def constant(self, values: mx.array) -> mx.array:
        return mx.stop_gradient(values)
