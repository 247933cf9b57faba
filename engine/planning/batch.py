"""The micro-batch and gradient checkpointing: the fastest that fits, in the least memory."""

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np

from engine.config.schema import TrainConfig
from engine.models.sizing import ModelShape
from engine.planning import memory, mlx_memory
from engine.planning.choices import Lengths
from engine.planning.limits import COMFORT
from engine.planning.memory import Load, MemoryPlan

FAST_TOKENS = {"cpu": 1024, "mps": 4096, "cuda": 8192}
"""Tokens in a micro-batch from which a larger one runs no faster, as its products already fill the device."""
LEAST_TOKENS = 256
"""Smaller micro-batches than this save little memory and lose much speed."""


@dataclass(frozen=True)
class Caps:
    """Upper bounds on the micro-batch from outside, as after running out of memory."""

    rows: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class MicroBatch:
    """How a step is cut, and what that needs."""

    rows: int
    tokens: int
    load: Load
    memory: MemoryPlan
    reasons: dict[str, str]


def settle(
    config: TrainConfig, shape: ModelShape, load: Load, lengths: Lengths, packed: bool, limit: int, caps: Caps
) -> MicroBatch:
    """Choose rows, tokens and checkpointing, as far as the recipe leaves them open.

    `load` is complete but for `tokens`, `longest` and `checkpointing`. Tried in the order of speed: without
    checkpointing first, each from the fastest micro-batch down; where nothing fits, the smallest is taken.
    """
    rows, budgets, why = _micro_batches(config, load, int(lengths.max()), caps)
    asked = config.training.gradient_checkpointing
    off = "as train.yml says"
    if asked == "auto" and config.adapter.type == "prefix":
        asked, off = False, "off: a layer that is computed again would not have the prefix"
    tried = []
    for checkpointing, tokens in itertools.product((False, True) if asked == "auto" else (asked,), budgets):
        full = dataclasses.replace(
            load,
            tokens=worst_tokens(lengths, rows, tokens, packed),
            longest=int(lengths.max()),
            checkpointing=checkpointing,
        )
        predict = mlx_memory.predict if load.backend == "mlx" else memory.predict
        tried.append(MicroBatch(rows, tokens, full, predict(shape, full), {}))
        if tried[-1].memory.peak_bytes <= COMFORT * limit:
            break
    fits = tried[-1].memory.peak_bytes <= COMFORT * limit
    chosen = tried[-1] if fits else min(tried, key=lambda one: one.memory.peak_bytes)
    if chosen.tokens < budgets[0]:
        more = "more would not fit" if fits else "not even this fits"
        why = f"at most {chosen.tokens} tokens at once: {more}"
    checkpointing_why = off
    # Full training takes three passes and an adapter two (`planning.speed`); recomputing is one more.
    more = "a third more arithmetic" if load.rank == 0 else "half as much arithmetic again"
    if asked == "auto":
        checkpointing_why = (
            f"on: without it no micro-batch fits; {more}"
            if chosen.load.checkpointing
            else f"off: it fits without, and recomputing would take {more}"
        )
    return dataclasses.replace(chosen, reasons={"batch": why, "checkpointing": checkpointing_why})


def _micro_batches(config: TrainConfig, load: Load, longest: int, caps: Caps) -> tuple[int, list[int], str]:
    """Most rows, the token budgets to try from the fastest down, and why the first."""
    effective = config.training.effective_batch_size
    wanted = config.training.batch_size
    rows = effective if wanted == "auto" else min(wanted, effective)
    most = rows * longest
    if wanted == "auto":
        most = min(most, max(longest, FAST_TOKENS[load.device]))
        if most < FAST_TOKENS[load.device]:
            why = f"a whole step of {effective} examples at once"
        else:
            why = f"at most {most} tokens at once: more would take memory and run no faster"
    elif wanted > effective:
        why = f"batch_size {wanted} cut to effective_batch_size {effective}, which makes one step"
    else:
        why = f"{wanted} examples at once, as train.yml says"
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


def typical_rows(config: TrainConfig, device: str, lengths: Lengths) -> int:
    """About how many examples share a micro-batch."""
    wanted = config.training.batch_size
    fast = int(FAST_TOKENS[device] // max(float(lengths.mean()), 1.0))
    return max(1, min(config.training.effective_batch_size, fast if wanted == "auto" else wanted))


def accumulation(effective: int, micro: MicroBatch, lengths: Lengths, packed: bool) -> int:
    """Micro-batches in an average step: rows or tokens fill one, whichever is first."""
    one = float(lengths.mean()) if packed else float(lengths.max() + lengths.mean()) / 2
    return max(1, math.ceil(effective / micro.rows), math.ceil(effective * one / micro.tokens))


def worst_tokens(lengths: Lengths, rows: int, tokens: int, packed: bool) -> int:
    """Tokens of the largest micro-batch that these limits allow; one longer example goes alone."""
    longest = int(lengths.max())
    top = np.sort(lengths)[-rows:]
    together = int(top.sum()) if packed else rows * longest
    if len(lengths) < rows and not packed:
        together = len(lengths) * longest
    return max(longest, min(tokens, together))
