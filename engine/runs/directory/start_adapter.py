"""The adapter that `adapter.from` names, and the copy of it in the run that starts from it."""

import dataclasses
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.load import Recipe
from engine.config.schema import TrainConfig
from engine.errors import ConfigError
from engine.models.adapter_files import CONFIG
from engine.models.saved_adapter import SavedAdapter, adopted, read_adapter
from engine.runs.directory.run import Run

STEP = re.compile(r"(.+)@(\d+)")


@dataclass(frozen=True)
class Start:
    """The adapter that a recipe starts from, and the run that made it where it is one's."""

    adapter: SavedAdapter
    run: Run | None = None

    def copy_into(self, run: Run) -> None:
        """Put its files into the folder of a new run, which then depends on no other folder. Raises OSError."""
        run.start.mkdir()
        for path in (self.adapter.folder / CONFIG, self.adapter.weights):
            shutil.copy(path, run.start)
        run.record({"start": self._facts()})

    def _facts(self) -> dict[str, Any]:
        """Facts for a run's provenance: where the adapter was, whose it is, and the model that it was trained on."""
        return {
            "folder": str(self.adapter.folder),
            "run": self.run.id if self.run else None,
            "fingerprint": self.adapter.fingerprint,
            "base": self.run.config.model.base if self.run else self.adapter.base,
            "model": self.run.provenance.get("model") if self.run else None,
        }


def find_start(config: TrainConfig) -> Start | None:
    """The adapter that `adapter.from` names; None where a recipe has no such key.

    Raises ConfigError where there is no such run or it has no adapter, ModelError for a folder without one.
    """
    reference = config.adapter.from_
    if reference is None:
        return None
    folder = Path(reference)
    if folder.is_absolute() and (folder / CONFIG).is_file():
        return Start(read_adapter(folder))
    step = STEP.fullmatch(reference)
    try:
        run = Run.open(step[1] if step else reference)
    except ConfigError as error:
        raise ConfigError(f"adapter.from: {error.message}", error.hint) from error
    found = read_adapter(_folder_of(run, int(step[2]) if step else None))
    return Start(dataclasses.replace(found, tokens=tuple(run.config.model.add_tokens)), run)


def start_of(config: TrainConfig) -> SavedAdapter | None:
    """The adapter alone, for a plan. Raises as `find_start` does."""
    start = find_start(config)
    return start.adapter if start else None


def begin_from(start: Start, recipe: Recipe) -> Recipe:
    """The recipe with what the adapter fixes. Raises ConfigError where it says otherwise."""
    return dataclasses.replace(recipe, config=adopted(recipe.config, start.adapter))


def _folder_of(run: Run, step: int | None) -> Path:
    """Folder of a run's adapter: of a step, of the checkpoint that the reference named, or the published one."""
    if step is not None:
        checkpoint: Path | None = run.checkpoints / f"step-{step:06d}"
    else:
        checkpoint = run.checkpoint
    found = checkpoint / "adapter" if checkpoint else run.adapter
    if found.is_dir():
        return found
    if (checkpoint / "model" if checkpoint else run.model).is_dir():
        raise ConfigError(
            f"adapter.from: run {run.id} trained every weight and has no adapter.",
            f"Train on from its model: model.base: {run.model}",
        )
    steps = sorted(int(p.name[5:]) for p in run.checkpoints.glob("step-*") if p.name[5:].isdigit())
    there = (
        f"it has checkpoints of the steps {', '.join(map(str, steps[-5:]))}"
        if steps
        else "it has no checkpoint"
    )
    what = f"no checkpoint of step {step}" if step is not None else "no adapter yet"
    raise ConfigError(
        f"adapter.from: run {run.id} has {what}; {there}.",
        f"Name one of them, as adapter.from: {run.id}@{steps[-1]}" if steps else "Name another run.",
    )
