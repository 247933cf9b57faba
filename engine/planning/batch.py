"""Micro-batch and gradient checkpointing: the fastest that fits, in the least memory."""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.backend_spec import BackendSpec, Device, Load, MemoryPlan
from engine.config.schema import TrainConfig
from engine.data.batching import Cut, bounds, steps_of_epoch
from engine.models.shape import ModelShape
from engine.planning.limits import COMFORT
from engine.planning.row_stats import Lengths
from engine.units import size

FAST_TOKENS: Mapping[Device, int] = {"cpu": 1024, "mps": 4096, "cuda": 8192}
"""Tokens in a micro-batch from which a larger one runs no faster, as its products already fill the device."""
CUT_COST = {device: tokens // 8 for device, tokens in FAST_TOKENS.items()}
"""Tokens of padding that are worth one more micro-batch, which fills the device less. On the CPU with MLX, anything
from 64 to 256 gave the same speed; the other two follow from the sizes that fill them, and are not measured."""
DRAWN_STEPS = 64
"""Steps that are drawn to see how rows of these lengths will lie."""
LEAST_TOKENS = 256
"""Smaller micro-batches than this save little memory and lose much speed."""


@dataclass(frozen=True)
class Caps:
    """Upper bounds on the micro-batch from outside, as after running out of memory."""

    rows: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class MicroBatch:
    """Micro-batches of a step, and the memory that they need."""

    rows: int
    tokens: int
    load: Load
    memory: MemoryPlan
    reasons: dict[str, str]
    hosted: int = 0
    """Bytes that wait in host memory, beside `memory`, which is the device's."""


@dataclass(frozen=True)
class Room:
    """Bytes available for training: on the device that trains, and in the host's memory beside it."""

    device: int
    host: int


def settle(
    config: TrainConfig,
    spec: BackendSpec,
    shape: ModelShape,
    load: Load,
    lengths: Lengths,
    packed: bool,
    room: Room,
    caps: Caps,
) -> MicroBatch:
    """Choose rows, tokens and checkpointing, where the recipe leaves them open.

    `load` is complete but for `tokens`, `longest`, `checkpointing` and `offloading`. Tried in the order of speed:
    without checkpointing first, each from the fastest micro-batch down; where nothing fits, the smallest is taken.
    """
    rows, budgets, why = _micro_batches(config, load, int(lengths.max()), caps)
    tried = []
    for way, tokens in itertools.product(_ways(config, spec, load), budgets):
        full = dataclasses.replace(
            load,
            tokens=worst_tokens(lengths, rows, tokens, packed),
            longest=int(lengths.max()),
            checkpointing=way is not False,
            offloading=way == "offload",
        )
        hosted = spec.host_bytes(shape, full)
        tried.append(MicroBatch(rows, tokens, full, spec.predict(shape, full), {}, hosted))
        if fits := tried[-1].memory.peak_bytes <= COMFORT * room.device and hosted <= COMFORT * room.host:
            break
    chosen = tried[-1] if fits else min(tried, key=lambda one: one.memory.peak_bytes)
    if chosen.tokens < budgets[0]:
        beyond = "more would not fit" if fits else "not even this fits"
        why = f"at most {chosen.tokens:,} tokens in a micro-batch: {beyond}"
    reasons = {"batch": why, "checkpointing": _checkpointing_reason(config, chosen, room)}
    return dataclasses.replace(chosen, reasons=reasons)


def _ways(config: TrainConfig, spec: BackendSpec, load: Load) -> tuple[bool | Literal["offload"], ...]:
    """The kinds of checkpointing to try, the fastest first."""
    asked = config.training.gradient_checkpointing
    planned = spec.devices[load.device].offloading == "planned"
    if asked == "auto":
        if config.adapter.type == "prefix":
            return (False,)
        return (False, True, "offload") if planned else (False, True)
    return (True,) if asked == "offload" and not planned else (asked,)  # else it offloads of its own accord


def _checkpointing_reason(config: TrainConfig, chosen: MicroBatch, room: Room) -> str:
    asked, load = config.training.gradient_checkpointing, chosen.load
    # Full training takes three passes and an adapter two (`planning.speed`); recomputing is one more.
    more = "a third more arithmetic" if load.rank == 0 else "half as much arithmetic again"
    if asked != "auto":
        why = "as set in train.yml"
    elif load.checkpointing:
        why = f"on: no micro-batch fits without it; {more}"
    elif config.adapter.type == "prefix":
        why = "off: a recomputed layer would not have the prefix"
    else:
        why = f"off: it fits without it, and recomputing would take {more}"
    if not load.offloading:
        return why
    waits = f"the layers' inputs wait in {size(chosen.hosted)} of pinned host memory"
    if chosen.hosted > room.host:
        return f"{why}; {waits}, of which {size(room.host)} are available"
    return f"{why}; {waits}" + ("" if asked != "auto" else ", as they do not fit on the GPU either")


def _micro_batches(config: TrainConfig, load: Load, longest: int, caps: Caps) -> tuple[int, list[int], str]:
    """Most rows, the token budgets to try from the fastest down, and why the first."""
    effective = config.training.effective_batch_size
    wanted = config.training.batch_size
    rows = effective if wanted == "auto" else min(wanted, effective)
    most = rows * longest
    if wanted == "auto":
        most = min(most, max(longest, FAST_TOKENS[load.device]))
        if most < FAST_TOKENS[load.device]:
            why = f"a whole step of {effective} examples in one micro-batch"
        else:
            why = f"at most {most:,} tokens in a micro-batch: more would need more memory and run no faster"
    elif wanted > effective:
        why = f"batch_size {wanted} reduced to effective_batch_size {effective}, which makes one step"
    else:
        why = f"{wanted} examples in a micro-batch, as set in train.yml"
    if caps.rows is not None and caps.rows < rows:
        rows, why = max(caps.rows, 1), "made smaller after running out of memory"
        most = min(most, rows * longest)
    if caps.tokens is not None and caps.tokens < most:
        most, why = max(caps.tokens, 1), "made smaller after running out of memory"
    if wanted != "auto":
        return rows, [most], why
    budgets = [most]
    while budgets[-1] // 2 >= max(longest, LEAST_TOKENS):
        budgets.append(budgets[-1] // 2)
    if budgets[-1] > longest:
        budgets.append(longest)
    return rows, budgets, why


def typical_cut(config: TrainConfig, device: Device, lengths: Lengths) -> Cut:
    """The cut of a step where memory does not bound the micro-batch, and rows are padded."""
    wanted, effective = config.training.batch_size, config.training.effective_batch_size
    rows = effective if wanted == "auto" else min(wanted, effective)
    return Cut(rows, max(FAST_TOKENS[device], int(lengths.max())), packing=False, cost=CUT_COST[device])


def padded_share(lengths: Lengths, effective: int, cut: Cut) -> float:
    """Share of padding in micro-batches that are cut so, over steps of drawn rows."""
    falling = _drawn_steps(lengths, effective)
    real = sum(int(step.sum()) for step in falling)
    area = sum(int(step[start]) * (end - start) for step in falling for start, end in bounds(step, cut))
    return 1.0 - real / area if area else 0.0


def accumulation(effective: int, micro: MicroBatch, lengths: Lengths, packed: bool) -> int:
    """Micro-batches in an average step."""
    cut = Cut(micro.rows, micro.tokens, packed, CUT_COST[micro.load.device])
    steps = _drawn_steps(lengths, effective)
    counts = [
        len(bounds(step, cut)) * effective / len(step) for step in steps
    ]  # a sample may make no whole step
    return max(1, round(float(np.mean(counts))))


def _drawn_steps(lengths: Lengths, effective: int) -> list[Lengths]:
    """Lengths of the examples of some steps as training draws them, each in falling order."""
    steps = steps_of_epoch(lengths, 0, 0, effective)
    return [np.sort(lengths[step])[::-1] for step in steps[:DRAWN_STEPS]]


def worst_tokens(lengths: Lengths, rows: int, tokens: int, packed: bool) -> int:
    """Tokens of the largest micro-batch that these limits allow; one longer example goes alone."""
    longest = int(lengths.max())
    top = np.sort(lengths)[-rows:]
    together = int(top.sum()) if packed else rows * longest
    if len(lengths) < rows and not packed:
        together = len(lengths) * longest
    return max(longest, min(tokens, together))
