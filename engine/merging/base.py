"""Base that a trained model is merged onto: the one that it was trained on, unquantised where that is on this disk."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import ConfigError, ModelError
from engine.merging.dequantised import open_weights, quantization_of
from engine.merging.names import stored_name
from engine.models.card import FRONT_MATTER
from engine.models.local import read_config
from engine.models.resolve import fingerprint, is_hub_id, on_disk, resolve
from engine.models.tensors import FolderTensors
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from engine.storage.regular_files import read_text

FARTHEST = 0.5
"""Largest relative distance of dequantised weights from those that they were made from; 4 bits cost about 0.1."""


@dataclass(frozen=True)
class MergeBase:
    """A base's folder, and a sentence that says which one it is."""

    folder: Path
    note: str


def base_for(model: TrainedModel) -> MergeBase:
    """The base to merge onto: unquantised where it is on this disk, else the one that has to be dequantised.

    Raises ModelError where the base changed since it was trained on, or is not there.
    """
    folder = trained_on(model)
    held = quantization_of(folder)
    if held is None:
        return MergeBase(folder, f"Merging onto {folder.name}, which is not quantised.")
    if origin := _origin(folder):
        return MergeBase(
            origin, f"Merging onto {origin}, the unquantised model that {folder.name} ({held}) was made from."
        )
    return MergeBase(
        folder,
        f"Merging onto {folder.name}, whose {held} weights are dequantised: the unquantised model is not on this disk.",
    )


def trained_on(model: TrainedModel) -> Path:
    """The folder of the base that a model was trained on.

    Raises ModelError where it is not there, or its files are not those that the run trained on.
    """
    known = _recorded(model)
    revision = model.revision
    if isinstance(model.base, str) and is_hub_id(model.base):
        revision = revision or known.get("revision")
        folder = resolve(model.base, revision).folder
    else:
        folder = model.base_folder()
    before = known.get("fingerprint")
    if model.adapter is not None and before not in (None, fingerprint(folder)):
        raise ModelError(
            f"The base in {folder} is not what {model.run.name if model.run else model.adapter} was trained on: its "
            "config, tokenizer or weights have changed since.",
            "Put back the files as they were when the run began, or train again on the base as it is now.",
        )
    return folder


def _recorded(model: TrainedModel) -> dict[str, str]:
    """Facts that a run has written of its base: name, fingerprint, revision; empty for what no run trained."""
    if model.run is None:
        return {}
    try:
        known = Run.open(model.run).provenance.get("model")
    except ConfigError:
        return {}
    return known if isinstance(known, dict) else {}


def _origin(folder: Path) -> Path | None:
    """The unquantised model that a quantised one says it was made from, where it is on this disk and is that."""
    for name in _named(folder):
        try:
            found = on_disk(name)
            if found.resolve() != folder.resolve() and _are_alike(folder, found):
                return found
        except (ModelError, OSError):  # not here, or not a model
            continue
    return None


def _named(folder: Path) -> Iterator[str]:
    """Names of models in the model card and config.json of a quantised one."""
    if (folder / "README.md").is_file():
        matter = FRONT_MATTER.search(read_text(folder / "README.md"))
        if matter and (found := re.search(r"^base_model:\s*(?:\n\s*-\s*)?(\S+)", matter[1], re.MULTILINE)):
            yield found[1].strip("'\"")
    if name := read_config(folder).get("_name_or_path"):
        yield str(name)


def _are_alike(quantised: Path, plain: Path) -> bool:
    """Return True if the weights of `plain`, in names, shapes and numbers, can be what `quantised` was made from."""
    if quantization_of(plain) is not None:
        return False
    ours, theirs = open_weights(quantised), FolderTensors(plain)
    plain_names = theirs.infos
    checked = 0
    for name, info in ours.infos.items():
        path, _, part = name.rpartition(".")
        found = stored_name(path, part, plain_names)
        if found is None or plain_names[found].shape != info.shape:
            return False
        if (
            checked < 3 and len(info.shape) == 2
        ):  # a few show it, and reading all would take as long as merging
            checked += 1
            rows = min(256, info.shape[0])
            values, own = theirs.read_rows(found, 0, rows), ours.read_rows(name, 0, rows)
            if np.linalg.norm(values - own) > FARTHEST * np.linalg.norm(values):
                return False
    return True
