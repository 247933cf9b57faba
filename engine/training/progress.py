"""Progress of a run: all that resuming needs besides weights and optimizer.

Row order and dropout are functions of (seed, step), so the step is the data cursor and no random state is kept.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from engine.errors import CheckpointError
from engine.storage.regular_files import read_text


@dataclass
class Progress:
    """The loop's own state; saved with every checkpoint."""

    step: int = 0
    """Steps done."""
    micro_batch_rows: int = 1
    micro_batch_tokens: int = 1
    """The micro-batch in force: running out of memory makes it smaller."""
    evaluated: int = -1
    """The step after which the last evaluation was made."""
    best_value: float | None = None
    """Best value so far of the metric that `checkpoints.best` names."""
    best_step: int | None = None
    without_better: int = 0
    """Evaluations since the best one."""
    loss_average: float | None = None
    """Moving average of the training loss, for the divergence watch."""
    lowest_average: float | None = None
    skipped: int = 0
    """Steps in a row whose gradient was not finite."""
    warned: bool = False

    def text(self) -> str:
        """As JSON; floats come back to the bit."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    def take(self, saved: "Progress") -> None:
        """Stand where `saved` stood; whoever holds this one sees it."""
        for one in fields(self):
            setattr(self, one.name, getattr(saved, one.name))

    @staticmethod
    def load(path: Path) -> "Progress":
        """Raises CheckpointError where the file is not what `text` says."""
        try:
            body = json.loads(read_text(path))
            if "best_loss" in body:  # of version 0.1.0, where the validation loss alone was compared
                body["best_value"] = body.pop("best_loss")
                body.pop("first_loss", None)
            return Progress(**body)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(
                f"{path}: cannot be read: {error}", "resume from an older checkpoint"
            ) from error
