"""True if this process multiplies matrices right, tried before a model is trusted to it."""

import numpy as np
import torch
from torch.nn.functional import linear

from engine.errors import MachineError
from engine.hardware import openmp

ROWS, INNER, COLUMNS = 2048, 32, 512
"""Enough blocks for each of some hundred threads to have one, and done in a millisecond."""
HINT = (
    "Before torch is imported, unset OMP_DYNAMIC, OMP_THREAD_LIMIT and OMP_MAX_ACTIVE_LEVELS, and set OMP_NUM_THREADS "
    "to the threads that may be used."
)


def refuse_wrong_products(device: torch.device, dtype: torch.dtype) -> None:
    """Raise MachineError where products on `device` in `dtype` are not what they should be, or will not stay so.

    The factors are -1, 0 and 1, so every format holds each sum exactly and nothing but the right numbers will do.
    """
    draw = np.random.default_rng(0)
    left, right = (draw.integers(-1, 2, (size, INNER)).astype(np.float32) for size in (ROWS, COLUMNS))
    given = (torch.from_numpy(factor).to(device, dtype) for factor in (left, right))
    with torch.no_grad():
        product = linear(*given).float().cpu().numpy()
    if not np.array_equal(product, left @ right.T):
        name = str(dtype).removeprefix("torch.")
        raise MachineError(f"torch computes wrong {name} products in this process, on {device.type}.", HINT)
    if device.type == "cpu" and dtype == torch.bfloat16 and openmp.varies():
        raise MachineError(
            "OMP_DYNAMIC lets OpenMP grant fewer threads than torch asks for, and torch's bfloat16 products are then "
            "wrong.",
            HINT,
        )
