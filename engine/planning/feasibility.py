"""Feasibility of LoRA, QLoRA and full training of a model on this machine, with rows of a typical length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.backend_spec import BackendName
from engine.config.adapters import Adapter
from engine.config.schema import TrainConfig
from engine.config.sections import Data, Model, Training
from engine.errors import FtError, Notice
from engine.hardware.probe import Machine
from engine.models.shape import ModelShape
from engine.planning.backend_choice import candidates, choose_backend
from engine.planning.limits import Fits
from engine.planning.plan import Plan
from engine.planning.planner import make_plan
from engine.planning.row_stats import RowStats
from engine.planning.ways import FULL, LORA, METHODS, QLORA, TYPICAL_TOKENS

TYPICAL_ROWS, TYPICAL_SHARE = 64, 0.5
"""The load: rows that long, half of whose tokens are answers. The micro-batch is as small as it has to be."""
LONGEST = 2048
"""Rows are cut at this many tokens unless the load has longer ones."""


@dataclass(frozen=True)
class Fit:
    """One way to train. `reason` says why it is impossible for another cause than memory (`plan` is then None)."""

    method: str
    fits: Fits
    plan: Plan | None
    reason: str = ""


@dataclass(frozen=True)
class Load:
    """Rows of so many `tokens` each, in micro-batches of `batch`; without one, as small as they have to be."""

    tokens: int = TYPICAL_TOKENS
    batch: int | None = None

    @property
    def rows(self) -> RowStats:
        """Rows alike."""
        return RowStats.uniform(TYPICAL_ROWS, self.tokens, TYPICAL_SHARE)


TYPICAL = Load()


def fits_of(shape: ModelShape, machine: Machine, load: Load = TYPICAL) -> tuple[Fit, ...]:
    """Each of `METHODS` with the memory that is free now; the same arithmetic as `ft plan`."""
    return tuple(_fit(method, shape, machine, load) for method in METHODS)


def backends_for(shape: ModelShape, machine: Machine) -> tuple[BackendName, ...]:
    """Backends that can train the model on this machine, in the order in which `auto` tries them."""
    return tuple(one.backend for one in candidates(machine, None, shape) if one.problem is None)


def better_in_4_bits(fits: Sequence[Fit]) -> bool:
    """True where LoRA does not fit well, or at all, and the machine can train it with 4-bit weights."""
    plans = {fit.method: fit.plan for fit in fits}
    plain, quantised = plans.get(LORA), plans.get(QLORA)
    return plain is not None and quantised is not None and plain.fits != "yes" and quantised.fits != "no"


def warnings_of(fits: Sequence[Fit]) -> tuple[Notice, ...]:
    """Warnings of the first way to train that is possible: LoRA's, wherever it is."""
    return next((fit.plan.warnings for fit in fits if fit.plan is not None), ())


def _fit(method: str, shape: ModelShape, machine: Machine, load: Load) -> Fit:
    quantization: Literal["4bit", "none"] = "4bit" if method == QLORA else "none"
    config = TrainConfig(
        model=Model(base="this", quantization=quantization, max_seq_length=max(load.tokens, LONGEST)),
        data=Data(train="typical"),
        adapter=Adapter(type="none" if method == FULL else "lora"),
        training=Training(batch_size=load.batch or "auto", effective_batch_size=max(load.batch or 1, 16)),
    )
    try:
        plan = make_plan(
            config, machine, choose_backend(machine, config, shape), shape, load.rows, advised=False
        )
    except FtError as error:
        return Fit(method, "no", None, error.message)
    return Fit(method, plan.fits, plan)
