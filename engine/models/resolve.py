"""From `model.base` to a whole model's folder on this disk."""

import difflib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelError
from engine.models import hub, local, starter
from engine.models.starter import Progress, silent
from engine.storage.regular_files import open_binary, read_bytes

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
SAMPLES, SAMPLE_BYTES = 16, 4096


@dataclass(frozen=True)
class LocalModel:
    """A whole model on this disk. `fingerprint` changes with its config, tokenizer or weights.

    `revision` is the commit of a model from the hub.
    """

    folder: Path
    name: str
    fingerprint: str
    revision: str | None = None


def resolve(base: str, revision: str | None = None, progress: Progress = silent) -> LocalModel:
    """Find the model that `model.base` names, converting or downloading it where that is needed.

    `base` is `starter`, a local folder, or a hub id; a folder goes before a hub id of the same name.
    Raises ModelError, HubError or MachineError.
    """
    path = Path(base).expanduser()
    if base == starter.NAME:
        _no_revision(base, revision)
        folder, name, commit = starter.ensure(progress), starter.NAME, None
    elif not is_hub_id(base):
        _no_revision(base, revision)
        folder, name, commit = path.absolute(), path.absolute().name, None
    else:
        if difflib.get_close_matches(base.lower(), [starter.NAME], cutoff=0.75):
            raise ModelError(f"There is no model {base}.", f"Did you mean {starter.NAME}?")
        folder = hub.download(base, revision, progress)
        name, commit = base, folder.name
    local.check(folder)
    return LocalModel(folder, name, fingerprint(folder), commit)


def on_disk(base: str, revision: str | None = None) -> Path:
    """The folder of a model that is on this disk already; nothing is downloaded, and the hub is not asked.

    Converts the starter where that has not been done. Raises ModelError where the model is not here.
    """
    path = Path(base).expanduser()
    if base == starter.NAME:
        folder: Path | None = starter.ensure()
    elif path.exists() or not HUB_ID.fullmatch(base) or path.suffix == ".gguf":
        folder = path.absolute()
    else:
        folder = hub.cached(base, revision)
    if folder is None:
        raise ModelError(
            f"{base} is not on this machine yet.",
            f"Training downloads it first, and so does: ft models pull {base}",
        )
    local.check(folder)
    return folder


def is_hub_id(base: str) -> bool:
    """True if `model.base` names a model of the hub: neither the starter nor a folder or file here."""
    path = Path(base).expanduser()
    return (
        bool(HUB_ID.fullmatch(base)) and base != starter.NAME and not path.exists() and path.suffix != ".gguf"
    )


def fingerprint(folder: Path) -> str:
    """sha256 over the config, the tokenizer, and each weight file's name, size, header and samples of data.

    Quick, however large the weights are: of each file, a few blocks spread over it are read, which tells
    trained weights from untrained ones of the same shapes.
    """
    digest = hashlib.sha256()
    for path in local.token_files(folder):
        if path.is_file():
            digest.update(path.name.encode() + read_bytes(path))
    for path, header in local.headers(folder).items():
        size = path.stat().st_size
        digest.update(f"{path.name} {size} {header}".encode())
        with open_binary(path) as file:
            for index in range(SAMPLES):
                file.seek(max(0, size - SAMPLE_BYTES) * index // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _no_revision(base: str, revision: str | None) -> None:
    if revision is not None:
        message = f"{base} is not a model of the hub, so it has no revision {revision}."
        raise ModelError(message, "Leave the revision out.")
