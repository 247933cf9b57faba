"""The operations of objectives on torch's tensors."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class TorchOps:
    """See `engine.objectives.base.Ops`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def array(self, values: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def take(self, values: Tensor, places: npt.NDArray[np.integer]) -> Tensor:
        return values.index_select(0, self.array(places.astype(np.int64)))

    def sum_by(self, values: Tensor, groups: npt.NDArray[np.integer], count: int) -> Tensor:
        return values.new_zeros(count).index_add(0, self.array(groups.astype(np.int64)), values)

    def log_sigmoid(self, values: Tensor) -> Tensor:
        return logsigmoid(values)

    def log1m_exp(self, values: Tensor) -> Tensor:
        # Either form loses all its digits at one end (Maechler 2012, "Accurately computing log(1 - exp(-|a|))").
        near = values > -math.log(2)
        far = torch.log1p(-values.masked_fill(near, -1.0).exp())
        return torch.where(near, torch.log(-torch.expm1(values.masked_fill(~near, -0.5))), far)

    def exp(self, values: Tensor) -> Tensor:
        return values.exp()

    def maximum(self, values: Tensor, least: float) -> Tensor:
        return values.clamp(min=least)

    def constant(self, values: Tensor) -> Tensor:
        return values.detach()
