"""Models that the service keeps loaded between answers."""

import gc
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.data.token_spec import TokenSpec
from engine.hardware.sharing import Sharing
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.inference.generation import Generator

MOST = 2
"""Models that are kept: a person compares a trained one with the one it was made from."""


@dataclass(frozen=True)
class Wanted:
    """A base model's folder, an adapter's, and how prompts are written for them."""

    base: Path
    adapter: Path | None
    spec: TokenSpec
    trust_remote_code: bool = False
    written_ns: int = 0
    """Time at which the trained weights were written: a run that trains writes better ones into the same folder."""

    @classmethod
    def of(cls, model: TrainedModel, trust_remote_code: bool = False) -> "Wanted":
        """The weights of a trained model as they are now. Raises ModelError where its base cannot be had."""
        base = model.base_folder()
        files = [*(model.adapter or base).glob("*.safetensors")]
        written = max((file.stat().st_mtime_ns for file in files), default=0)
        return cls(base, model.adapter, model.spec, trust_remote_code, written)


class LoadedModels:
    """Keeps the last model asked for, and the one before where there is memory for both."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[Wanted, Generator] = OrderedDict()
        self._sharing = Sharing()

    def close(self) -> None:
        """Let go of all models, and give this process's threads back what they had."""
        self._loaded.clear()
        self._sharing.end()

    def generator(self, wanted: Wanted) -> "Generator":
        """The model that answers, loaded where it is not yet. Raises what `Generator.open` raises."""
        from engine.inference.generation import Generator

        if wanted not in self._loaded:
            while self._loaded and (len(self._loaded) >= MOST or not _has_room(wanted.base)):
                self._loaded.popitem(last=False)  # let go of an old model before the new one is loaded
                gc.collect()
            opened = Generator.open(wanted.base, wanted.adapter, wanted.spec, wanted.trust_remote_code)
            self._loaded[wanted] = opened
            if opened.model.spins:
                self._sharing.start()  # a long answer beside a busy program is as slow as training
        self._loaded.move_to_end(wanted)
        return self._loaded[wanted]


def _has_room(base: Path) -> bool:
    """Return True if another model of this size fits beside what is loaded, with as much again left free."""
    from engine.hardware.probe import probe
    from engine.models.sizing import shape_of

    machine = probe()
    gpu = machine.gpu.free_bytes if machine.gpu else None
    free = machine.available_bytes if machine.device == "cpu" else gpu or 0
    return free > 2 * shape_of(base).parameters * (4 if machine.device == "cpu" else 2)
