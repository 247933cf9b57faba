"""The plan of a run: its decisions, the work they make, the memory and time that takes, and a reason for each."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple

from engine.backend_spec import Attention, BackendName, Device, Dtype, MemoryPlan
from engine.errors import Notice
from engine.planning.limits import Fits
from engine.units import duration, size

RowOrder = Literal["shuffled", "bucketed"]
Strategy = Literal["single"]


@dataclass(frozen=True)
class Decisions:
    """Everything that the backend and the loop have to know, settled before anything loads."""

    backend: BackendName
    device: Device
    """Device that computes; MLX is on "mps" with Apple's GPU and on "cpu" elsewhere."""
    weights_dtype: Dtype
    """Format of unquantised weights."""
    compute_dtype: Dtype
    """Format of products; fp32 on a CPU without bf16 instructions, whatever the weights are."""
    attention: Attention
    packing: bool
    """Lay a micro-batch's examples end to end in one row, without padding."""
    micro_batch_rows: int
    """Most examples in a micro-batch."""
    micro_batch_tokens: int
    """Most tokens in a micro-batch (padding counted); one longer example still goes alone."""
    effective_batch_size: int
    gradient_checkpointing: bool
    accumulation: int = 1
    """About how many micro-batches make one step."""
    activation_offloading: bool = False
    """With checkpointing: the layers' inputs wait for the backward pass in host memory, moved there by ft."""
    kernels: str = "own"
    """Kernels that compute the loss, and with MLX attention: ft's own, or those of the package named here."""
    row_order: RowOrder = "shuffled"
    """Order in which rows are drawn for a step: by seed and epoch alone, or as runs of earlier versions drew them: rows
    that are padded in buckets of like length."""
    cut_cost: int | None = None
    """Tokens of padding that are worth one more micro-batch; None fills each as far as the limits allow."""
    processes: int = 1
    """Processes that train, each on a device of its own."""
    strategy: Strategy = "single"
    """Division of the work among them."""

    @property
    def checkpointing(self) -> str:
        """Checkpointing in a word: layers keep all that they made (off), or their inputs here (on) or in host memory
        (offload)."""
        return "offload" if self.activation_offloading else "on" if self.gradient_checkpointing else "off"


@dataclass(frozen=True)
class Work:
    """Steps of the run, and the rows and tokens that they are made of."""

    epochs: float
    steps: int
    examples: int
    tokens_per_epoch: int
    trained_tokens_per_epoch: int
    longest: int
    """Tokens of the longest example."""
    sampled: bool
    """Token counts are estimated from a sample of the rows."""
    positions: int | None = None
    """Most tokens of a prompt with its answer, where the model has a vector for each position."""
    flops: float = 0.0
    """Floating-point operations of the run; divided by its seconds, the speed that the next plan uses."""


@dataclass(frozen=True)
class Estimate:
    """Time that the run takes, and whether its memory is there."""

    seconds: float | None
    """Training time; None where nothing is known of this machine's speed."""
    limit_bytes: int
    """Memory that the device can give to the engine."""
    fits: Fits


class Line(NamedTuple):
    """One choice for people to read."""

    name: str
    choice: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """A recipe, a machine, a model and its rows, settled.

    Properties give the decisions and figures that the engine reads while it trains.
    """

    decisions: Decisions
    work: Work
    memory: MemoryPlan
    estimate: Estimate
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Reasons by the name of the choice: backend, precision, batch, packing, checkpointing, memory…"""
    advice: tuple[str, ...] = ()
    """The cheapest changes that would make it fit, best first; empty where it fits."""
    warnings: tuple[Notice, ...] = ()
    """What to know before it runs, as that ft is not tested with models of this kind."""

    @property
    def backend(self) -> BackendName:
        return self.decisions.backend

    @property
    def device(self) -> Device:
        return self.decisions.device

    @property
    def weights_dtype(self) -> Dtype:
        return self.decisions.weights_dtype

    @property
    def compute_dtype(self) -> Dtype:
        return self.decisions.compute_dtype

    @property
    def attention(self) -> Attention:
        return self.decisions.attention

    @property
    def packing(self) -> bool:
        return self.decisions.packing

    @property
    def micro_batch_rows(self) -> int:
        return self.decisions.micro_batch_rows

    @property
    def micro_batch_tokens(self) -> int:
        return self.decisions.micro_batch_tokens

    @property
    def gradient_checkpointing(self) -> bool:
        return self.decisions.gradient_checkpointing

    @property
    def activation_offloading(self) -> bool:
        return self.decisions.activation_offloading

    @property
    def kernels(self) -> str:
        return self.decisions.kernels

    @property
    def row_order(self) -> RowOrder:
        return self.decisions.row_order

    @property
    def cut_cost(self) -> int | None:
        return self.decisions.cut_cost

    @property
    def steps(self) -> int:
        return self.work.steps

    @property
    def positions(self) -> int | None:
        return self.work.positions

    @property
    def limit_bytes(self) -> int:
        return self.estimate.limit_bytes

    @property
    def fits(self) -> Fits:
        return self.estimate.fits

    def changed(self, **decisions: Any) -> "Plan":
        """This plan with some other decisions, whose memory and time nobody has worked out."""
        return dataclasses.replace(self, decisions=dataclasses.replace(self.decisions, **decisions))

    def begun_as(self, begun: "Plan") -> "Plan":
        """This plan with the rows of every step, and their layout, as in the one that its run began with.

        Their packing has to be the same already, since memory depends on it.
        """
        reasons = {**self.reasons, "packing": begun.reasons.get("packing", "")}
        same = self.changed(row_order=begun.decisions.row_order, cut_cost=begun.decisions.cut_cost)
        return dataclasses.replace(same, reasons=reasons)

    def lines(self) -> tuple[Line, ...]:
        """The choices with their reasons, in reading order: what a person is most likely to change comes first."""
        made, why = self.decisions, self.reasons
        batches = "micro-batch" if made.accumulation == 1 else "micro-batches"
        rows = f"{made.micro_batch_rows} rows, {made.micro_batch_tokens:,} tokens"
        arithmetic = f"{made.weights_dtype} weights, {made.compute_dtype} arithmetic"
        quantization = why.get("quantization", "")
        return (
            Line("backend", f"{made.backend} on {made.device}", why.get("backend", "")),
            Line("micro-batch", rows, why.get("batch", "")),
            Line(
                "accumulation",
                f"about {made.accumulation} {batches}",
                f"{made.effective_batch_size} examples a step",
            ),
            Line("checkpointing", made.checkpointing, why.get("checkpointing", "")),
            Line("packing", "on" if made.packing else "off", why.get("packing", "")),
            *([Line("adapter", "trained further", why["adapter"])] if "adapter" in why else []),
            *([Line("kernels", made.kernels, why["kernels"])] if "kernels" in why else []),
            Line("precision", arithmetic, why.get("precision", "")),
            Line("weights", quantization.split(",")[0], quantization),
            Line("attention", made.attention, why.get("attention", "")),
            Line("steps", f"{self.work.steps:,}", why.get("steps", "")),
            self._tokens(),
            Line("time", _about(self.estimate.seconds), why.get("time", "")),
            Line("limit", size(self.limit_bytes), why.get("memory", "")),
        )

    def _tokens(self) -> Line:
        work = self.work
        about, sample = ("about ", "; estimated from a sample of the rows") if work.sampled else ("", "")
        trained = work.trained_tokens_per_epoch / max(work.tokens_per_epoch, 1)
        length = f": {self.reasons['length']}" if "length" in self.reasons else ""
        return Line(
            "tokens",
            f"{about}{work.tokens_per_epoch:,} an epoch",
            f"{trained:.0%} of them trained; the longest example has {work.longest:,}{length}{sample}",
        )

    def to_json(self) -> str:
        body = asdict(self)
        body["memory"]["peak_bytes"] = self.memory.peak_bytes
        return json.dumps(body, indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str) -> "Plan":
        """Read what `to_json` wrote, or the flat layout of ft 0.1.0."""
        body: dict[str, Any] = json.loads(text)
        if "decisions" not in body:
            # The rows of a run that a version before 0.1.0 began are in buckets.
            body = _parts(body | {"row_order": body.get("row_order", "bucketed")})
        memory = {name: part for name, part in body["memory"].items() if name != "peak_bytes"}
        return Plan(
            Decisions(**body["decisions"]),
            Work(**body["work"]),
            MemoryPlan(**memory),
            Estimate(**body["estimate"]),
            body.get("reasons", {}),
            tuple(body.get("advice", ())),
            tuple(Notice(**one) for one in body.get("warnings", ())),
        )


def _parts(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a plan whose fields lie side by side."""
    parts = {"decisions": Decisions, "work": Work, "estimate": Estimate}
    names = {part: [one.name for one in fields(kind)] for part, kind in parts.items()}
    nested = {part: {name: flat[name] for name in known if name in flat} for part, known in names.items()}
    return {**nested, **{name: flat[name] for name in ("memory", "reasons", "advice") if name in flat}}


def _about(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"about {duration(max(seconds, 1))}"
