"""Errors for people: what happened, what to do about it, and the exit code."""

from dataclasses import dataclass
from typing import ClassVar

from engine.redaction import redacted
from engine.text import MOST_BYTES, printable, shortened

LONGEST_MESSAGE = 1400
"""Bytes of a message; the hint has the rest of `MOST_BYTES`."""


class FtError(Exception):
    """A failure with one clear message, a hint that says what to do, and an exit code.

    Raise the subclass that names where it went wrong. The command line prints message and hint,
    never a traceback; the engine process turns it into a `failed` event. What either repeats of files, addresses
    and libraries is without secrets, without control characters and of bounded length, wherever it is shown.
    """

    kind: ClassVar[str] = "training"
    exit_code: ClassVar[int] = 6

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self._message = message
        self._hint = hint

    @property
    def message(self) -> str:
        """Statement of what happened, and where."""
        return shortened(printable(redacted(self._message)), LONGEST_MESSAGE)

    @property
    def hint(self) -> str:
        """Advice on what to do about it; may be empty."""
        return shortened(printable(redacted(self._hint)), MOST_BYTES - len(self.message.encode()))

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Notice:
    """A warning: something that a person should know before it runs, although it can run."""

    message: str
    hint: str
    """Advice on what to do about it."""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"


class CheckFailed(FtError):  # noqa: N818 - the outcome of a gate, not a fault
    """A check or gate that the person asked for did not pass."""

    kind, exit_code = "check", 1


class ConfigError(FtError):
    """Wrong usage, or a recipe that cannot be used."""

    kind, exit_code = "config", 2


class DataError(FtError):
    """Rows that cannot be read, or that would waste the run."""

    kind, exit_code = "data", 3


class ModelError(FtError):
    """A model or tokenizer that cannot be found, fetched or loaded."""

    kind, exit_code = "model", 4


class HubError(ModelError):
    """The hub, or another service that a token is for, cannot be reached (`unreachable`), or refuses."""

    kind = "hub"

    def __init__(self, message: str, hint: str = "", unreachable: bool = False) -> None:
        super().__init__(message, hint)
        self.unreachable = unreachable


def first_line(error: BaseException) -> str:
    """Message of a library's exception, in one line of at most 300 characters."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    return (" ".join(lines[:2]) if lines[0].endswith(":") else lines[0])[:300]


FREE = "Close what else needs memory, or take a smaller model."
"""The hint where a model that answers does not fit into memory."""


class OutOfMemoryError(FtError):
    """The machine has too little memory for the smallest step."""

    kind, exit_code = "memory", 5


class TrainingError(FtError):
    """The run itself failed: divergence, a crashed engine, a backend's own error."""

    kind, exit_code = "training", 6


class CheckpointError(TrainingError):
    """A checkpoint that cannot be read, or does not belong to this run."""

    kind = "checkpoint"


class MachineError(FtError):
    """The machine refuses: disk, permissions, devices."""

    kind, exit_code = "machine", 7


KINDS: dict[str, type[FtError]] = {
    error.kind: error
    for error in (
        CheckFailed,
        ConfigError,
        DataError,
        ModelError,
        HubError,
        OutOfMemoryError,
        TrainingError,
        CheckpointError,
        MachineError,
    )
}
"""Error kinds by the name that a `failed` event carries, so that a parent raises what the child raised."""
