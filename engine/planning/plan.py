"""A recipe, a machine, a model and its examples settle into one plan; every choice carries its reason."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from engine.capabilities import BackendName, Device, Dtype
from engine.config.schema import TrainConfig
from engine.errors import DataError
from engine.hardware.probe import Machine
from engine.models.adapters import trained_parameters, vocabulary_parameters
from engine.models.saved_adapter import SavedAdapter
from engine.models.sizing import ModelShape
from engine.planning import backends, batch, choices, kernels, limits, speed
from engine.planning.advice import advise
from engine.planning.choices import Attention, Lengths
from engine.planning.kernels import Kernels
from engine.planning.limits import Fits
from engine.planning.memory import Load
from engine.planning.memory import MemoryPlan as MemoryPlan

RowOrder = Literal["shuffled", "bucketed"]


@dataclass(frozen=True)
class Plan:
    """All that the backend, the loop and a curious person need, settled before anything loads."""

    backend: BackendName
    device: Device
    """What computes on which device; MLX is on "mps" with Apple's GPU and on "cpu" elsewhere."""
    weights_dtype: Dtype
    """How unquantised weights are held."""
    compute_dtype: Dtype
    """What products are computed in; fp32 on a CPU without bf16 instructions, whatever the weights are."""
    attention: Attention
    packing: bool
    """Lay a micro-batch's examples end to end in one row, without padding."""
    micro_batch_rows: int
    """Most examples in a micro-batch."""
    micro_batch_tokens: int
    """Most tokens in a micro-batch (padding counted); one longer example still goes alone."""
    effective_batch_size: int
    gradient_checkpointing: bool
    epochs: float
    steps: int
    examples: int
    tokens_per_epoch: int
    trained_tokens_per_epoch: int
    longest: int
    """Tokens of the longest example."""
    seconds: float | None
    """Estimated training time; None where nothing is known of this machine's speed."""
    memory: MemoryPlan
    limit_bytes: int
    """What the device can give to the engine."""
    fits: Fits
    sampled: bool
    """True where token counts are estimated from a sample of the rows."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why, by the name of the choice: backend, precision, batch, packing, checkpointing, memory…"""
    advice: tuple[str, ...] = ()
    """The cheapest changes that would make it fit, best first; empty where it fits."""
    accumulation: int = 1
    """About how many micro-batches make one step."""
    activation_offloading: bool = False
    """With checkpointing: the layers' inputs wait for the backward pass in host memory, moved there by us."""
    flops: float = 0.0
    """Floating-point operations of the run; divided by its seconds, the speed that the next plan uses."""
    kernels: Kernels = "own"
    """Whose kernels compute the loss, and with MLX attention: our own, or those of an installed package."""
    positions: int | None = None
    """Most tokens of a prompt with its answer, where the model has a vector for each position."""
    row_order: RowOrder = "shuffled"
    """How rows are drawn for a step: by seed and epoch alone, or as runs of earlier versions drew them: rows that are
    padded in buckets of like length."""
    cut_cost: int | None = None
    """Tokens of padding that are worth one more micro-batch; None fills each as far as the limits allow."""

    @property
    def checkpointing(self) -> str:
        """In a word: layers keep all that they made (off), or their inputs here (on) or in host memory (offload)."""
        return "offload" if self.activation_offloading else "on" if self.gradient_checkpointing else "off"

    def begun_as(self, begun: "Plan") -> "Plan":
        """This plan with the rows of every step, and how they are laid out, as in the one that its run began with.

        Their packing has to be the same already, since memory depends on it.
        """
        reasons = {**self.reasons, "packing": begun.reasons.get("packing", "")}
        return dataclasses.replace(self, row_order=begun.row_order, cut_cost=begun.cut_cost, reasons=reasons)

    def to_json(self) -> str:
        body = asdict(self)
        body["memory"]["peak_bytes"] = self.memory.peak_bytes
        return json.dumps(body, indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str) -> "Plan":
        body: dict[str, Any] = json.loads(text)
        body["memory"].pop("peak_bytes", None)
        body["memory"] = MemoryPlan(**body["memory"])
        body["advice"] = tuple(body["advice"])
        body.setdefault("row_order", "bucketed")  # of a run that an earlier version began
        return Plan(**body)


def make_plan(
    config: TrainConfig,
    machine: Machine,
    shape: ModelShape,
    lengths: Lengths,
    trained_share: float,
    *,
    sampled: bool = False,
    examples: int | None = None,
    max_rows: int | None = None,
    max_tokens: int | None = None,
    start: SavedAdapter | None = None,
) -> Plan:
    """Settle every choice. A pure function: the same arguments give the same plan.

    `lengths` are tokens of each training example (int64 `[count]`), or of a sample of `examples` rows in
    all; `trained_share` is the share of tokens that the loss counts. `max_rows` and `max_tokens` cap the
    micro-batch, as after running out of memory. `start` is the adapter that training starts from, and `config` has
    adopted it. Raises ConfigError for what this machine cannot do,
    MachineError where the backend is missing, DataError without examples.
    """
    rows = _Rows(lengths, trained_share, sampled, len(lengths) if examples is None else examples)
    caps = batch.Caps(max_rows, max_tokens)
    plan = _settle(config, machine, shape, rows, caps, start)
    if plan.fits == "yes":
        return plan
    advice = advise(config, lambda changed: _settle(changed, machine, shape, rows, caps, start))
    return dataclasses.replace(plan, advice=advice)


@dataclass(frozen=True)
class _Rows:
    """The training rows, as far as a plan needs them."""

    lengths: Lengths
    trained_share: float
    sampled: bool
    examples: int


@dataclass(frozen=True)
class _Layout:
    """How rows lie in a micro-batch, and what attends to them."""

    attention: Attention
    kernels: Kernels
    packing: bool
    padded: float
    """Share of padding where rows are not packed."""
    reasons: dict[str, str]


def _layout(
    config: TrainConfig,
    machine: Machine,
    backend: BackendName,
    shape: ModelShape,
    precision: choices.Precision,
    lengths: Lengths,
) -> _Layout:
    attention, attention_why = choices.attention(machine, precision.compute, backend)
    fast, kernels_why = kernels.choose(config, machine, backend, shape, precision.compute)
    if fast == "mlx-train-perf":
        attention_why = f"in its place, the flash attention of {fast}"
    cut = batch.typical_cut(config, machine.device, lengths)
    padded = batch.padded_share(lengths, config.training.effective_batch_size, cut)
    packing, packing_why = choices.packing(config, machine, backend, attention, fast, padded)
    reasons = {"attention": attention_why, "packing": packing_why}
    return _Layout(
        attention, fast, packing, padded, reasons | ({"kernels": kernels_why} if kernels_why else {})
    )


@dataclass(frozen=True)
class _Work:
    """How much there is to compute. `tokens` are those of an epoch, `seconds` None where no speed is known."""

    steps: int
    epochs: float
    tokens: float
    flops: float
    seconds: float | None
    reasons: dict[str, str]


def _work(
    config: TrainConfig,
    machine: Machine,
    backend: BackendName,
    shape: ModelShape,
    load: Load,
    rows: _Rows,
    lengths: Lengths,
    laid: _Layout,
    precision: choices.Precision,
) -> _Work:
    steps, epochs, steps_why = _steps(config, rows.examples)
    tokens = float(lengths.mean()) * rows.examples
    flops = speed.flops(
        shape,
        load,
        tokens * epochs / (1.0 if laid.packing else 1.0 - laid.padded),
        tokens * epochs * rows.trained_share,
        float(np.square(lengths).sum() / lengths.sum()),
    )
    rate, rate_why = speed.flops_per_second(machine, backend, precision.compute)
    seconds = None if rate is None else flops / rate
    return _Work(steps, epochs, tokens, flops, seconds, {"steps": steps_why, "time": rate_why})


def _settle(
    config: TrainConfig,
    machine: Machine,
    shape: ModelShape,
    rows: _Rows,
    caps: batch.Caps,
    start: SavedAdapter | None,
) -> Plan:
    """A plan without advice."""
    if len(rows.lengths) == 0 or rows.examples == 0:
        raise DataError("There are no training examples to plan for.", "Check data.train in the recipe.")
    new_tokens = len(config.model.add_tokens)
    shape = shape.with_tokens(new_tokens)
    chosen = backends.choose(machine, config, shape)
    # From here on, the machine as the backend uses it.
    machine = dataclasses.replace(machine, device=chosen.device)
    precision = choices.precision(config, machine, chosen.backend)
    lengths = np.minimum(rows.lengths, config.model.max_seq_length)
    laid = _layout(config, machine, chosen.backend, shape, precision, lengths)
    limit, limit_why = limits.limit_bytes(machine)
    trained = trained_parameters(shape, config.adapter, new_tokens) if start is None else start.parameters
    vocabulary = vocabulary_parameters(shape, config.adapter, new_tokens)
    load = _load(
        config, machine, chosen.backend, trained, vocabulary, precision, rows.trained_share, laid.kernels
    )
    room = batch.Room(limit, limits.host_bytes(machine))
    micro = batch.settle(config, shape, load, lengths, laid.packing, room, caps)

    work = _work(config, machine, chosen.backend, shape, micro.load, rows, lengths, laid, precision)
    reasons = {
        "backend": chosen.reason,
        "precision": precision.reason,
        "quantization": choices.quantization_reason(config, chosen.backend),
        **laid.reasons,
        **micro.reasons,
        **work.reasons,
        "memory": limit_why,
        **_told_of_length(config, shape, int(lengths.max())),
        **({} if start is None else {"adapter": f"starts from the one in {start.folder}"}),
    }
    return Plan(
        backend=chosen.backend,
        device=chosen.device,
        weights_dtype=precision.weights,
        compute_dtype=precision.compute,
        attention=laid.attention,
        packing=laid.packing,
        micro_batch_rows=micro.rows,
        micro_batch_tokens=micro.tokens,
        effective_batch_size=config.training.effective_batch_size,
        gradient_checkpointing=micro.load.checkpointing,
        activation_offloading=micro.load.offloading,
        accumulation=batch.accumulation(config.training.effective_batch_size, micro, lengths, laid.packing),
        epochs=work.epochs,
        steps=work.steps,
        examples=rows.examples,
        tokens_per_epoch=round(work.tokens),
        trained_tokens_per_epoch=round(work.tokens * rows.trained_share),
        longest=int(lengths.max()),
        seconds=work.seconds,
        memory=micro.memory,
        limit_bytes=limit,
        fits="no" if micro.hosted > room.host else limits.fits(micro.memory.peak_bytes, limit),
        sampled=rows.sampled,
        reasons=reasons,
        flops=work.flops,
        kernels=laid.kernels,
        positions=shape.positions,
        cut_cost=batch.CUT_COST[chosen.device],
    )


def _load(
    config: TrainConfig,
    machine: Machine,
    backend: BackendName,
    trained: int,
    vocabulary: int,
    precision: choices.Precision,
    share: float,
    fast: Kernels,
) -> Load:
    """What memory depends on, but for the micro-batch. `trained` and `vocabulary` are parameters, `share` of tokens."""
    full = config.adapter.type == "none"
    rank = config.adapter.rank if config.adapter.low_rank else 1
    return Load(
        backend=backend,
        device=machine.device,
        weights=precision.weights,
        compute=precision.compute,
        quantization=config.model.quantization,
        double_quant=config.model.double_quant,
        trained=trained,
        vocabulary=vocabulary,
        head=full or bool(config.adapter.modules_to_save),
        rank=0 if full else rank,
        adapter=config.adapter.type,
        dropout=config.adapter.dropout > 0,
        tokens=0,
        longest=0,
        trained_share=share,
        checkpointing=False,
        kernels=fast,
        moment_bytes=4 if config.training.optimizer == "adamw" else 1,
    )


def _told_of_length(config: TrainConfig, shape: ModelShape, longest: int) -> dict[str, str]:
    """What should be known of long rows; nothing where the model takes them as they are."""
    if shape.positions is not None and shape.positions < config.model.max_seq_length:
        return {"length": f"rows are cut at the model's {shape.positions} positions"}
    if shape.positions is None and 0 < shape.context < longest:
        return {"length": f"the model was made for {shape.context}, and may learn little beyond them"}
    return {}


def _steps(config: TrainConfig, examples: int) -> tuple[int, float, str]:
    """Steps of the optimizer, the passes over the rows that they make, and why."""
    effective = config.training.effective_batch_size
    per_epoch = math.ceil(examples / effective)
    if config.training.max_steps is not None:
        steps = config.training.max_steps
        return steps, steps / per_epoch, f"max_steps: {steps}, whatever the epochs say"
    epochs = config.training.epochs
    steps = max(1, math.ceil(epochs * per_epoch - 1e-9))
    return steps, epochs, f"{epochs:g} epochs of {per_epoch} steps: {examples} examples, {effective} a step"
