"""From `model.base` to a folder on this disk."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engine.models import starter
from engine.models.starter import Progress, silent


@dataclass(frozen=True)
class LocalModel:
    """A whole model on this disk. `fingerprint` changes with its config, weight files, or tokenizer."""

    folder: Path
    name: str
    fingerprint: str


def resolve(base: str, revision: str | None = None, progress: Progress = silent) -> LocalModel:
    """Find the model that `model.base` names, fetching or converting it where that is needed.

    `base` is `starter`, a local folder, or a hub id. Raises ModelError, HubError or MachineError.
    """
    if base == starter.NAME:
        folder = starter.ensure(progress)
        return LocalModel(folder, starter.NAME, fingerprint(folder))
    folder = Path(base).expanduser()
    return LocalModel(folder, folder.name, fingerprint(folder))


def fingerprint(folder: Path) -> str:
    """sha256 over what defines the model, without reading the weights' data."""
    digest = hashlib.sha256()
    digest.update((folder / "config.json").read_bytes())
    return digest.hexdigest()
