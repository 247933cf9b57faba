"""The reference of a method that compares: what the model gave the answers before its first step.

It is computed once, in the micro-batches of the first epoch, and kept in files beside the tokens: no second model is
held, a later epoch or run with the same start costs nothing, and the first margins are exactly 0, because the same
weights compute the same batches.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.config.schema import TrainConfig
from engine.data.types import Dataset, Examples, Float32
from engine.models import adapter_files
from engine.objectives.base import Objective
from engine.planning.plan import Plan
from engine.runs.directory.run import Run
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining

STARTS_AT_ZERO = ("default", "gaussian")
"""Initialisations of a LoRA under which it changes nothing at first, whatever its rank."""
CUT = ("packing", "row_order", "cut_cost", "micro_batch_rows", "micro_batch_tokens")
COMPUTED = ("backend", "device", "weights_dtype", "compute_dtype", "attention", "kernels")


def reference_folder(run: Run, config: TrainConfig, plan: Plan, dataset: Dataset) -> Path | None:
    """Where the reference of a run is kept: named by all that its numbers depend on, to the bit.

    None where the tokens are in no folder.
    """
    if dataset.folder is None:
        return None
    known = run.provenance
    depends = {
        "tokens": dataset.fingerprint,
        "model": known.get("model"),
        "versions": known.get("versions"),
        "weights": config.model.model_dump(
            mode="json", include={"quantization", "quant_type", "double_quant"}
        ),
        "new tokens": config.model.add_tokens,
        "start": _start(run, config),
        "order": [config.seed, config.training.effective_batch_size],
        **{name: getattr(plan, name) for name in (*CUT, *COMPUTED)},
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True, default=str).encode()).hexdigest()
    return dataset.folder / f"reference-{digest[:16]}"


def _start(run: Run, config: TrainConfig) -> Any:
    """What the adapter is before the first step."""
    adapter = config.adapter
    if adapter.from_ is not None:
        with (run.start / adapter_files.WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if adapter.type == "lora" and adapter.init in STARTS_AT_ZERO:
        return adapter.model_dump(mode="json", include={"type", "target_modules", "modules_to_save"})
    return adapter.model_dump(mode="json", exclude={"dropout"})


def with_reference(dataset: Dataset, objective: Objective, folder: Path | None) -> Dataset:
    """The dataset with room for the reference where the objective needs one: what is known of it, else NaN.

    In memory where `folder` is None. Raises OutOfDiskError where the disk is full.
    """
    if not objective.needs_reference:
        return dataset

    def opened(name: str, examples: Examples) -> Examples:
        def room(part: str, size: int) -> Float32:
            return np.full(size, np.nan, np.float32) if folder is None else _mapped(folder / part, size)

        found = replace(examples, reference=room(f"{name}.float32", len(examples.tokens)))
        if objective.needs_divergence:
            found = replace(found, mismatched=room(f"{name}-mismatched.float32", len(examples)))
        return found

    validation = dataset.validation
    return replace(
        dataset,
        train=opened("train", dataset.train),
        validation=None if validation is None else opened("validation", validation),
    )


def _mapped(file: Path, size: int) -> Float32:
    """A file of `size` numbers, mapped to be written. A file that is not whole is made again, full of NaN."""
    if not file.is_file() or file.stat().st_size != 4 * size:
        with explaining():
            file.parent.mkdir(exist_ok=True)
            write_atomic(file, np.full(size, np.nan, np.float32).tobytes())  # takes its room on the disk now
    if not size:
        return np.empty(0, np.float32)
    return np.memmap(file, dtype=np.float32, mode="r+")


def positions_of(examples: Examples, indexes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Places in `examples.tokens` of the trained tokens of these examples, int64 `[n]`, example by example.

    The first token of an example is never among them: nothing predicts it.
    """
    lengths = examples.lengths[indexes]
    ends = np.cumsum(lengths)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    places = np.repeat(examples.offsets[indexes], lengths) + within
    kept: npt.NDArray[np.int64] = places[examples.trained[places] & (within > 0)]
    return kept
