"""Feasibility of LoRA, QLoRA and full training of a model on this machine, with rows of a typical length."""

from dataclasses import dataclass

from engine.config.adapters import Adapter
from engine.config.schema import TrainConfig
from engine.config.sections import Data, Model
from engine.errors import FtError
from engine.hardware.probe import Machine
from engine.models.shape import ModelShape
from engine.planning.backend_choice import choose_backend
from engine.planning.limits import Fits
from engine.planning.plan import Plan
from engine.planning.planner import make_plan
from engine.planning.row_stats import RowStats

TYPICAL_ROWS, TYPICAL_TOKENS, TYPICAL_SHARE = 64, 512, 0.5
"""The load: rows that long, half of whose tokens are answers. The micro-batch is as small as it has to be."""
LORA, QLORA, FULL = "LoRA", "QLoRA", "full"
METHODS = (LORA, QLORA, FULL)


@dataclass(frozen=True)
class Fit:
    """One way to train. `reason` says why it is impossible for another cause than memory (`plan` is then None)."""

    method: str
    fits: Fits
    plan: Plan | None
    reason: str = ""


def fits_of(shape: ModelShape, machine: Machine) -> tuple[Fit, ...]:
    """Each of `METHODS` with the memory that is free now; the same arithmetic as `ft plan`."""
    return tuple(_fit(method, shape, machine) for method in METHODS)


def _fit(method: str, shape: ModelShape, machine: Machine) -> Fit:
    config = TrainConfig(
        model=Model(base="this", quantization="4bit" if method == QLORA else "none"),
        data=Data(train="typical"),
        adapter=Adapter(type="none" if method == FULL else "lora"),
    )
    rows = RowStats.uniform(TYPICAL_ROWS, TYPICAL_TOKENS, TYPICAL_SHARE)
    try:
        plan = make_plan(config, machine, choose_backend(machine, config, shape), shape, rows)
    except FtError as error:
        return Fit(method, "no", None, error.message)
    return Fit(method, plan.fits, plan)
