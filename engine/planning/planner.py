"""Planning: a recipe, a machine, a backend, a model and the statistics of its rows become a `Plan`."""

import dataclasses
import math
from dataclasses import dataclass

from engine.backend_spec import Attention, BackendSpec, Kernels, Load
from engine.config.schema import TrainConfig
from engine.hardware.probe import Machine
from engine.methods import method_named
from engine.models.adapters import trained_parameters, vocabulary_parameters
from engine.models.saved_adapter import SavedAdapter
from engine.models.shape import ModelShape
from engine.objectives.base import Objective
from engine.planning import batch, choices, limits, notices, speed
from engine.planning.advice import advise
from engine.planning.backend_choice import Chosen, choose_backend
from engine.planning.batch import Caps, MicroBatch
from engine.planning.choices import Precision
from engine.planning.held import as_held
from engine.planning.plan import Decisions, Estimate, Plan, Work
from engine.planning.row_stats import RowStats

UNCAPPED = Caps()


def make_plan(
    config: TrainConfig,
    machine: Machine,
    chosen: Chosen,
    shape: ModelShape,
    rows: RowStats,
    caps: Caps = UNCAPPED,
    start: SavedAdapter | None = None,
    *,
    advised: bool = True,
) -> Plan:
    """Settle every choice. A pure function: the same arguments give the same plan.

    `chosen` is the backend (`choose_backend`), `caps` bound the micro-batch, as after running out of memory. `start` is
    the adapter that training starts from, and `config` has adopted it. Unless `advised`, a plan that does not fit has
    no advice, which takes ten more plans.

    Raises ConfigError for what this machine cannot do and DataError without examples.
    """
    config = as_held(config, shape)
    rows.require()
    plan = _settle(_Inputs.of(config, machine, chosen, shape, rows), caps, start)
    if plan.fits == "yes" or not advised:
        return plan

    def changed(other: TrainConfig) -> Plan:
        """The plan of a changed recipe, which another backend may train."""
        inputs = _Inputs.of(other, machine, choose_backend(machine, other, shape), shape, rows)
        return _settle(inputs, caps, start)

    return dataclasses.replace(plan, advice=advise(config, plan, changed))


@dataclass(frozen=True)
class _Inputs:
    """The arguments of a plan, as the chosen backend meets them."""

    config: TrainConfig
    machine: Machine
    """With the device that the backend computes on."""
    chosen: Chosen
    shape: ModelShape
    """With the rows of new tokens."""
    rows: RowStats
    """None of them longer than the recipe allows."""

    @staticmethod
    def of(
        config: TrainConfig, machine: Machine, chosen: Chosen, shape: ModelShape, rows: RowStats
    ) -> "_Inputs":
        return _Inputs(
            config,
            dataclasses.replace(machine, device=chosen.device),
            chosen,
            shape.with_tokens(len(config.model.add_tokens)),
            rows.cut(config.model.max_seq_length),
        )

    @property
    def spec(self) -> BackendSpec:
        return self.chosen.spec


@dataclass(frozen=True)
class _Layout:
    """Layout of rows in a micro-batch, and what attends to them."""

    attention: Attention
    kernels: Kernels
    packing: bool
    padded: float
    """Share of padding where rows are not packed."""
    reasons: dict[str, str]


def _settle(inputs: _Inputs, caps: Caps, start: SavedAdapter | None) -> Plan:
    """A plan without advice."""
    config, machine, rows = inputs.config, inputs.machine, inputs.rows
    precision = choices.precision(config, machine, inputs.spec, inputs.shape.architecture)
    layout = _layout(inputs, precision)
    limit, limit_why = limits.limit_bytes(machine)
    room = batch.Room(limit, limits.host_bytes(machine))
    load = _load(inputs, precision, layout.kernels, start)
    micro = batch.settle(config, inputs.spec, inputs.shape, load, rows.lengths, layout.packing, room, caps)
    work, work_reasons = _work(inputs, micro.load, layout)
    rate, rate_why = speed.flops_per_second(machine, inputs.spec, precision.compute)
    reasons = {
        "backend": inputs.chosen.reason,
        "precision": precision.reason,
        "quantization": choices.quantization_reason(config, inputs.spec, inputs.shape),
        **layout.reasons,
        **micro.reasons,
        **work_reasons,
        "time": rate_why,
        "memory": limit_why,
        **({} if start is None else {"adapter": f"starts from the one in {start.folder}"}),
    }
    fits = "no" if micro.hosted > room.host else limits.fits(micro.memory.peak_bytes, limit)
    estimate = Estimate(None if rate is None else work.flops / rate, limit, fits)
    warnings = notices.of_model(
        inputs.shape, inputs.chosen.backend, config.adapter, config.model.trust_remote_code
    )
    return Plan(
        _decisions(inputs, precision, layout, micro), work, micro.memory, estimate, reasons, warnings=warnings
    )


def _layout(inputs: _Inputs, precision: Precision) -> _Layout:
    config, machine, spec, lengths = inputs.config, inputs.machine, inputs.spec, inputs.rows.lengths
    attention, attention_why = spec.attention(machine, precision.compute)
    kernels = spec.kernels(config, machine, inputs.shape, precision.compute)
    if kernels.attend:
        attention_why = f"replaced by the flash attention of {kernels.name}"
    cut = batch.typical_cut(config, machine.device, lengths)
    padded = batch.padded_share(lengths, config.training.effective_batch_size, cut)
    able = spec.devices[machine.device]
    packing, packing_why = choices.packing(config, able, attention, kernels, padded)
    reasons = {"attention": attention_why, "packing": packing_why}
    if kernels.reason:
        reasons["kernels"] = kernels.reason
    return _Layout(attention, kernels, packing, padded, reasons)


def _load(inputs: _Inputs, precision: Precision, kernels: Kernels, start: SavedAdapter | None) -> Load:
    """Everything that memory depends on, except for the micro-batch."""
    config, adapter, new_tokens = inputs.config, inputs.config.adapter, len(inputs.config.model.add_tokens)
    full = adapter.type == "none"
    trained = trained_parameters(inputs.shape, adapter, new_tokens) if start is None else start.parameters
    return Load(
        device=inputs.machine.device,
        weights=precision.weights,
        compute=precision.compute,
        quantization=config.model.quantization,
        double_quant=config.model.double_quant,
        trained=trained,
        vocabulary=vocabulary_parameters(inputs.shape, adapter, new_tokens),
        head=full or bool(adapter.modules_to_save),
        rank=0 if full else adapter.rank if adapter.low_rank else 1,
        adapter=adapter.type,
        dropout=adapter.dropout > 0,
        tokens=0,
        longest=0,
        trained_share=inputs.rows.trained_share,
        checkpointing=False,
        kernels=kernels.name,
        moment_bytes=4 if config.training.optimizer == "adamw" else 1,
    )


def _work(inputs: _Inputs, load: Load, layout: _Layout) -> tuple[Work, dict[str, str]]:
    """Steps, rows and tokens, with the reasons for the steps and for what long rows become."""
    rows, shape = inputs.rows, inputs.shape
    steps, epochs, steps_why = _steps(inputs.config, rows.examples // rows.size)
    tokens = rows.tokens
    filled, looks = 1.0 if layout.packing else 1.0 - layout.padded, _looks(inputs.config, epochs)

    def of(passes: float) -> tuple[float, float, float]:
        """Tokens that are computed, tokens that are trained, and the length that attention sees."""
        return tokens * passes / filled, tokens * passes * rows.trained_share, rows.mean_square

    flops = speed.flops(shape, load, *of(epochs)) + speed.forward_flops(shape, load, *of(looks))
    work = Work(
        epochs=epochs,
        steps=steps,
        examples=rows.examples,
        tokens_per_epoch=round(tokens),
        trained_tokens_per_epoch=round(tokens * rows.trained_share),
        longest=rows.longest,
        sampled=rows.sampled,
        positions=shape.positions,
        flops=flops,
    )
    return work, {"steps": steps_why, **_length_reasons(inputs.config, shape, rows.longest)}


def _looks(config: TrainConfig, epochs: float) -> float:
    """Passes over the rows without gradients: for the reference once, for the divergence from it in every step."""
    objective: Objective = method_named(config.training.method).objective(config.method_config)
    first = min(epochs, 1.0)
    return first * objective.needs_reference + (first + epochs) * objective.needs_divergence


def _decisions(inputs: _Inputs, precision: Precision, layout: _Layout, micro: MicroBatch) -> Decisions:
    effective = inputs.config.training.effective_batch_size
    return Decisions(
        backend=inputs.chosen.backend,
        device=inputs.chosen.device,
        weights_dtype=precision.weights,
        compute_dtype=precision.compute,
        attention=layout.attention,
        packing=layout.packing,
        micro_batch_rows=micro.rows,
        micro_batch_tokens=micro.tokens,
        effective_batch_size=effective,
        gradient_checkpointing=micro.load.checkpointing,
        activation_offloading=micro.load.offloading,
        accumulation=batch.accumulation(effective, micro, inputs.rows.lengths, layout.packing),
        kernels=layout.kernels.name,
        cut_cost=batch.CUT_COST[inputs.chosen.device],
    )


def _length_reasons(config: TrainConfig, shape: ModelShape, longest: int) -> dict[str, str]:
    """A remark on long rows; none where the model takes them as they are."""
    if shape.positions is not None and shape.positions < config.model.max_seq_length:
        return {"length": f"rows are truncated at the model's {shape.positions:,} positions"}
    if shape.positions is None and 0 < shape.context < longest:
        return {
            "length": f"the model was made for {shape.context:,} tokens, and may learn little beyond them"
        }
    return {}


def _steps(config: TrainConfig, examples: int) -> tuple[int, float, str]:
    """Steps of the optimizer, the passes over the rows that they make, and why."""
    effective = config.training.effective_batch_size
    per_epoch = math.ceil(examples / effective)
    if config.training.max_steps is not None:
        steps = config.training.max_steps
        return steps, steps / per_epoch, f"max_steps: {steps}, which overrides epochs"
    epochs = config.training.epochs
    steps = max(1, math.ceil(epochs * per_epoch - 1e-9))
    return steps, epochs, f"{epochs:g} epochs of {per_epoch} steps: {examples} examples, {effective} a step"
