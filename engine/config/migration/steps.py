"""Keys that several tools have in common, though by different names: batch, length, warm-up, schedule, intervals."""

import math
from collections.abc import Mapping

from engine.config.migration.convert import is_off, number, text, whole
from engine.config.migration.draft import Draft

BATCH = ("training.effective_batch_size",)
LENGTH = ("training.epochs", "training.max_steps")
WARMUP = ("training.warmup_ratio",)
OPTIMIZERS: Mapping[str, str] = {
    "adamw": "adamw",
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw",
    "adamw_hf": "adamw",
    "adamw_8bit": "adamw_8bit",
    "adamw_bnb_8bit": "adamw_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}
"""Optimizers of transformers that are ours."""
NEARLY: Mapping[str, tuple[str, str]] = {
    "adamw_apex_fused": ("adamw", "the same AdamW, not apex's"),
    "paged_adamw": ("adamw", "the same AdamW; its state in 32 bits is not paged"),
    "paged_adamw_32bit": ("adamw", "the same AdamW; its state in 32 bits is not paged"),
    "adamw_torch_8bit": ("adamw_8bit", "8-bit state of bitsandbytes, not of torchao"),
}
SCHEDULES = ("constant", "linear", "cosine")
SIMILAR: Mapping[str, tuple[str, str]] = {
    "constant_with_warmup": ("constant", "ft's constant begins with the warm-up too"),
    "cosine_with_restarts": ("cosine", "the same with one cycle; ft has no restarts"),
    "polynomial": ("linear", "the same with power 1; ft has no other powers"),
    "cosine_with_min_lr": ("cosine", "ft's cosine falls to zero, not to a least rate"),
    "cosine_warmup_with_min_lr": ("cosine", "ft's cosine falls to zero, not to a least rate"),
}
"""Schedules of transformers that ours come near to."""


def effective_batch(draft: Draft, rows: str, usual: int, accumulation: str, packed: str = "") -> None:
    """Micro-batch times accumulation as examples of a step. `usual` is the tool's default of `rows`.

    `packed` is the name of the switch that lays several examples into one of their rows, where it is on.
    """
    size, times = draft.read(rows, whole, usual), draft.read(accumulation, whole, 1)
    why = f"{size} x {times} examples on one device; batch_size: auto takes as many at a time as fit"
    if packed:
        why += (
            f". With {packed} each of those held several examples, so a step there had more: "
            "multiply by as many as fit (ft data stats)"
        )
    draft.take("training.effective_batch_size", size * times, rows, accumulation, why=why)


def length(draft: Draft, epochs: str, usual: float, steps: str = "max_steps") -> None:
    """Epochs, or steps where they are set: they override epochs in ft as they do there."""
    most = draft.read(steps, whole, -1)
    if most > 0:
        draft.take("training.max_steps", most, steps)
        if not draft.has(epochs):
            return
    elif draft.has(steps):
        draft.leave([steps], "off, or empty", "nothing")
    draft.take("training.epochs", float(draft.read(epochs, number, usual)), epochs)


def warmup(draft: Draft, steps: str, ratio: str, usual: float) -> None:
    """Warm-up as a share of the steps; a number of steps needs `training.max_steps`, which has been read before."""
    count = draft.read(steps, number, 0.0)
    if draft.has(steps) and count >= 1:
        _from_steps(draft, int(count), steps, ratio)
        return
    if draft.has(steps) and not draft.has(ratio):
        draft.take(WARMUP[0], float(count), steps, why="below 1 it is a share of the steps" if count else "")
        return
    draft.take(WARMUP[0], float(draft.read(ratio, number, usual)), ratio)


def _from_steps(draft: Draft, count: int, steps: str, ratio: str) -> None:
    total = draft.values.get("training.max_steps")
    if isinstance(total, int) and count < total:
        why = f"{count} of {total} steps"
        draft.take(WARMUP[0], share_of(count, total), steps, ratio, why=why)
        return
    draft.leave(
        [steps],
        "a share of all steps in ft, and how many these epochs have depends on the rows",
        f"{WARMUP[0]}: 0.03; better {count} / the steps that ft plan shows",
    )


def share_of(count: int, total: int) -> float:
    """The share of `total` steps that `engine.training.schedule` rounds up to exactly `count`."""
    share = round(count / total, 6)
    return share if math.ceil(share * total) == count else (count - 0.5) / total


def schedule(draft: Draft, key: str, usual: str) -> None:
    """A schedule by transformers' name."""
    name = draft.read(key, text, usual).lower()
    if name in SCHEDULES:
        draft.take("training.scheduler", name, key)
    elif name in SIMILAR:
        ours, why = SIMILAR[name]
        draft.take("training.scheduler", ours, key, why=why)
    else:
        draft.leave([key], "ft has constant, linear and cosine", f"training.scheduler: {usual}")
        draft.imply("training.scheduler", usual)


def optimizer(draft: Draft, key: str) -> None:
    """An optimizer by transformers' name."""
    name = draft.read(key, text, "adamw_torch").lower()
    if name in OPTIMIZERS:
        draft.take("training.optimizer", OPTIMIZERS[name], key)
    elif name in NEARLY:
        ours, why = NEARLY[name]
        draft.take("training.optimizer", ours, key, why=why)
    else:
        draft.leave(
            [key], "ft trains with AdamW alone", "training.optimizer: adamw; its learning rate may differ"
        )


def clipping(draft: Draft, key: str = "max_grad_norm") -> None:
    """Gradient clipping: 0 turns it off there, null here."""
    most = draft.read(key, number, 1.0)
    if most > 0:
        draft.take("training.max_grad_norm", float(most), key)
    else:
        draft.take("training.max_grad_norm", None, key, why="0 is off there")


def interval(draft: Draft, ours: str, key: str, usual: float, *also: str) -> None:
    """Steps between evaluations or checkpoints; a number below 1 is a share of all steps there.

    `also` are keys that only say that steps are counted.
    """
    every = draft.read(key, number, usual)
    total = draft.values.get("training.max_steps")
    if every >= 1:
        draft.take(ours, int(every), key, *also)
    elif every > 0 and isinstance(total, int):
        draft.take(ours, max(1, math.ceil(every * total)), key, *also, why=f"a share of {total} steps there")
    elif every > 0:
        draft.leave(
            [key, *also], "a share of all steps there, a number of steps in ft", f"ft's default of {ours}"
        )


def moments(draft: Draft) -> None:
    """AdamW's own constants, where the file says others than ft's."""
    usual = {"adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8}
    for key, value in usual.items():
        if draft.has(key):
            equal = draft.read(key, number, value) == value
            draft.leave([key], "ft's AdamW has this value" if equal else "no key of ft's AdamW", f"{value:g}")


def on(draft: Draft, key: str) -> bool:
    """True if the file switches this key on."""
    return draft.has(key) and not is_off(draft.given[key])
