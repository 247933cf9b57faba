"""One recipe on every backend: what each makes of its keys, whether it could run here, and what that takes."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.capabilities import BackendName, Device, KeySupport, capability
from engine.config.schema import TrainConfig
from engine.errors import FtError
from engine.hardware.probe import Machine
from engine.models.sizing import ModelShape
from engine.planning.backends import Standing, choose, standings, unknown, untrained
from engine.planning.key_support import translations, values
from engine.planning.plan import Plan

MODEL = "model.base"


@dataclass(frozen=True)
class Column:
    """One backend."""

    backend: BackendName
    device: Device
    picked: bool
    """Whether the recipe as it stands is trained with it."""
    problem: str
    """Why it cannot train this here; empty where it can."""
    hint: str
    """What to do about the problem."""
    note: str
    """What it computes on."""
    unasked: str
    """Why `auto` leaves it alone; empty where it does not."""
    settled: Mapping[str, str]
    """By key, what its plan makes of the value; the recipe's own where there is no plan."""
    keys: Mapping[str, KeySupport]
    exact_resume: bool
    plan: Plan | None


@dataclass(frozen=True)
class Comparison:
    """The recipe's values that backends may take differently, and what each backend makes of them."""

    values: Mapping[str, str]
    columns: tuple[Column, ...]

    def to_json(self) -> str:
        body = {"values": dict(self.values), "backends": {one.backend: _body(one) for one in self.columns}}
        return json.dumps(body, indent=2) + "\n"


def compare(
    config: TrainConfig, machine: Machine, shape: ModelShape, settle: Callable[[TrainConfig], Plan]
) -> Comparison:
    """Hold the recipe against every backend; `settle` plans a recipe for this machine and model."""
    try:
        picked = choose(machine, config, shape).backend
    except FtError:  # each column says why
        picked = None
    columns = tuple(
        _column(one, config, dataclasses.replace(machine, device=one.device), shape, settle, picked)
        for one in standings(machine, config, shape)
    )
    return Comparison({MODEL: shape.architecture, **values(config)}, columns)


def _column(
    standing: Standing,
    config: TrainConfig,
    machine: Machine,
    shape: ModelShape,
    settle: Callable[[TrainConfig], Plan],
    picked: BackendName | None,
) -> Column:
    backend, problem, plan = standing.backend, standing.problem, None
    if problem is None:
        try:
            plan = settle(config.model_copy(update={"backend": backend}))
        except FtError as error:
            problem = error
    settled = config if plan is None else _settled(config, plan)
    of_model = {
        MODEL: unknown(backend, machine, shape.architecture),
        "adapter.target_modules": untrained(backend, config, shape),
    }
    refused = {key: KeySupport("refused", why.message, why.hint) for key, why in of_model.items() if why}
    return Column(
        backend,
        standing.device,
        backend == picked,
        problem.message if problem else "",
        problem.hint if problem else "",
        standing.note,
        standing.unasked,
        {MODEL: shape.architecture, **values(settled)},
        {MODEL: KeySupport("direct"), **translations(settled, backend, machine), **refused},
        capability(backend, standing.device).exact_resume,
        plan,
    )


def _settled(config: TrainConfig, plan: Plan) -> TrainConfig:
    """The recipe with what the plan put in the place of `auto`."""
    recomputing = "offload" if plan.activation_offloading else plan.gradient_checkpointing
    training = {"precision": plan.compute_dtype, "gradient_checkpointing": recomputing}
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"packing": plan.packing}),
            "training": config.training.model_copy(update=training),
        }
    )


def _body(column: Column) -> dict[str, Any]:
    keys = {
        key: {"value": column.settled[key]} | dataclasses.asdict(found) for key, found in column.keys.items()
    }
    return {
        "device": column.device,
        "picked": column.picked,
        "runs_here": column.plan is not None,
        "problem": column.problem,
        "hint": column.hint,
        "note": column.note,
        "left_by_auto": column.unasked,
        "exact_resume": column.exact_resume,
        "peak_bytes": column.plan.memory.peak_bytes if column.plan else None,
        "limit_bytes": column.plan.limit_bytes if column.plan else None,
        "seconds": column.plan.seconds if column.plan else None,
        "keys": keys,
    }
