"""Comparison of one recipe on every backend: their support for its keys, and what training with each would take."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.backend_spec import BackendName, BackendSpec, Device, KeySupport
from engine.config.schema import TrainConfig
from engine.errors import FtError
from engine.hardware.probe import Machine
from engine.models.shape import ModelShape
from engine.planning.backend_choice import Candidate, candidates, choose_backend, model_refusals
from engine.planning.key_support import supported, values
from engine.planning.plan import Plan

MODEL = "model.base"


@dataclass(frozen=True)
class Column:
    """One backend."""

    backend: BackendName
    device: Device
    picked: bool
    """The recipe as it stands is trained with it."""
    problem: str
    """Reason why it cannot train this here; empty where it can."""
    hint: str
    """The way out of the problem."""
    note: str
    """The computing device, in words."""
    unasked: str
    """Reason why `auto` does not take it; empty where it does."""
    settled: Mapping[str, str]
    """Values by key as its plan has them; the recipe's own where there is no plan."""
    keys: Mapping[str, KeySupport]
    exact_resume: bool
    spec: BackendSpec | None
    """None where its package does not load."""
    plan: Plan | None


@dataclass(frozen=True)
class Comparison:
    """The recipe's values that backends may take differently, and their support for them."""

    values: Mapping[str, str]
    columns: tuple[Column, ...]

    def to_json(self) -> str:
        body = {"values": dict(self.values), "backends": {one.backend: _body(one) for one in self.columns}}
        return json.dumps(body, indent=2) + "\n"


def compare(
    config: TrainConfig, machine: Machine, shape: ModelShape, settle: Callable[[TrainConfig], Plan]
) -> Comparison:
    """Compare the recipe on every backend; `settle` plans a recipe for this machine and model."""
    try:
        picked = choose_backend(machine, config, shape).backend
    except FtError:  # each column says why
        picked = None
    columns = tuple(
        _column(one, config, dataclasses.replace(machine, device=one.device), shape, settle, picked)
        for one in candidates(machine, config, shape)
    )
    return Comparison({MODEL: shape.architecture, **values(config)}, columns)


def _column(
    candidate: Candidate,
    config: TrainConfig,
    machine: Machine,
    shape: ModelShape,
    settle: Callable[[TrainConfig], Plan],
    picked: BackendName | None,
) -> Column:
    backend, spec, problem, plan = candidate.backend, candidate.spec, candidate.problem, None
    if problem is None:
        try:
            plan = settle(config.model_copy(update={"backend": backend}))
        except FtError as error:
            problem = error
    settled = config if plan is None else _settled(config, plan)
    return Column(
        backend,
        candidate.device,
        backend == picked,
        problem.message if problem else "",
        problem.hint if problem else "",
        candidate.note,
        candidate.unasked,
        {MODEL: shape.architecture, **values(settled)},
        _keys(spec, config, settled, machine, shape),
        spec is not None and spec.devices[candidate.device].exact_resume,
        spec,
        plan,
    )


def _keys(
    spec: BackendSpec | None, config: TrainConfig, settled: TrainConfig, machine: Machine, shape: ModelShape
) -> dict[str, KeySupport]:
    """Support by key; unknown, and so refused, where the backend's package does not load."""
    if spec is None:
        return dict.fromkeys((MODEL, *values(settled)), KeySupport("refused", "the backend does not load"))
    refused = {
        key: KeySupport("refused", why.message, why.hint)
        for key, why in model_refusals(spec, machine, config, shape).items()
    }
    return {MODEL: KeySupport("direct"), **supported(settled, spec, machine), **refused}


def _settled(config: TrainConfig, plan: Plan) -> TrainConfig:
    """The recipe with the plan's choices in the place of `auto`."""
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
        "methods": sorted(column.spec.methods or ("any",)) if column.spec else [],
        "tasks": sorted(column.spec.tasks) if column.spec else [],
        "distributed": sorted(column.spec.distributed) if column.spec else [],
        "peak_bytes": column.plan.memory.peak_bytes if column.plan else None,
        "limit_bytes": column.plan.limit_bytes if column.plan else None,
        "seconds": column.plan.estimate.seconds if column.plan else None,
        "warnings": [dataclasses.asdict(one) for one in column.plan.warnings] if column.plan else [],
        "keys": keys,
    }
