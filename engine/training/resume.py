"""Facts that a resumed run keeps as it was begun: data, backend, files of its rows, layers of its adapter."""

from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import DataError
from engine.models import adapter_files
from engine.models.language_model import WEIGHING, of_language_model
from engine.models.weight_headers import read_header
from engine.runs.directory.run import Run

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.data.sources.resolve import ResolvedSources
    from engine.data.types import Dataset

FILES, MOST_FILES = "files", 100
"""Key of the provenance under which a run names the files of its rows, and most files that it names."""


def same_data(run: Run, dataset: "Dataset") -> None:
    """Going on with other rows would be another run. Raises DataError."""
    data = run.provenance.get("data")
    if isinstance(data, dict) and data.get("fingerprint") not in (None, dataset.fingerprint):
        raise DataError(
            f"The training data of {run.id} has changed since it was started.",
            "Put the old file back to resume (or the ft that began it, where rows are split in another way now), "
            "or start a new run: ft train",
        )


def same_backend(run: Run, config: "TrainConfig") -> "TrainConfig":
    """A run continues with what it was begun with, also where `auto` would now take another."""
    begun = run.plan
    return config if begun is None else config.model_copy(update={"backend": begun.backend})


def same_files(run: Run, config: "TrainConfig") -> "TrainConfig":
    """A run that was begun when a folder meant all of its files continues with all of them."""
    from engine.data.sources.resolve import with_old_splits

    return (
        config.model_copy(update={"data": with_old_splits(config.data)}) if _is_before_splits(run) else config
    )


def record_files(run: Run, sources: "ResolvedSources") -> None:
    """Write down which files the rows are from, unless the run was begun before that was done."""
    if not _is_before_splits(run):
        names = [file.name for file in sources.files]
        known = run.provenance.get("data", {})
        run.record({"data": known | {FILES: names[:MOST_FILES]}})


def _is_before_splits(run: Run) -> bool:
    """Return True if a run was begun before the files of its data were recorded, and folders read by split."""
    data = run.provenance.get("data")
    return isinstance(data, dict) and FILES not in data


def same_layers(config: "TrainConfig", resume: Path | None) -> "TrainConfig":
    """A run keeps the layers that its adapter has: earlier versions adapted a vision tower too, and routers."""
    file = resume / "adapter" / adapter_files.WEIGHTS if resume else None
    if file is None or not file.is_file():
        return config
    paths = {tensor.name.split(".lora_")[0] for tensor in read_header(file) if ".lora_" in tensor.name}
    layers = sorted(path.removeprefix("base_model.model.") for path in paths)
    meant = set(of_language_model(layers))
    if config.adapter.target_modules == "all-linear":
        meant -= {path for path in layers if path.rpartition(".")[2] in WEIGHING or ".experts." in path}
    if len(meant) == len(layers):
        return config
    adapter = config.adapter.model_copy(update={"target_modules": layers})
    return config.model_copy(update={"adapter": adapter})
