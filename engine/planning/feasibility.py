"""Whether a model fits this machine for LoRA, QLoRA and full training, over a typical load."""

from dataclasses import dataclass

import numpy as np

from engine.config.adapters import Adapter
from engine.config.schema import Data, Model, TrainConfig
from engine.errors import FtError
from engine.hardware.probe import Machine
from engine.models.sizing import ModelShape
from engine.planning.limits import Fits
from engine.planning.plan import Plan, make_plan

TYPICAL_ROWS, TYPICAL_TOKENS, TYPICAL_SHARE = 64, 512, 0.5
"""The load: rows that long, half of whose tokens are answers. The micro-batch is as small as it has to be."""
LORA, QLORA, FULL = "LoRA", "QLoRA", "full"
METHODS = (LORA, QLORA, FULL)


@dataclass(frozen=True)
class Fit:
    """One way to train. `reason` says why not, where it is not memory that is missing (`plan` is then None)."""

    method: str
    fits: Fits
    plan: Plan | None
    reason: str = ""


def fits_of(shape: ModelShape, machine: Machine) -> tuple[Fit, ...]:
    """What can be trained here now, in the order of `METHODS`; the same arithmetic as `ft plan`."""
    return tuple(_fit(method, shape, machine) for method in METHODS)


def _fit(method: str, shape: ModelShape, machine: Machine) -> Fit:
    config = TrainConfig(
        model=Model(base="this", quantization="4bit" if method == QLORA else "none"),
        data=Data(train="typical"),
        adapter=Adapter(type="none" if method == FULL else "lora"),
    )
    lengths = np.full(TYPICAL_ROWS, TYPICAL_TOKENS, np.int64)
    try:
        plan = make_plan(config, machine, shape, lengths, TYPICAL_SHARE)
    except FtError as error:
        return Fit(method, "no", None, error.message)
    return Fit(method, plan.fits, plan)
