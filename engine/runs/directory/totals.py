"""Totals of a run's events, counted without decoding most of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.runs.directory.events import Eval, Event, Memory, Step, step_tails


@dataclass(frozen=True)
class Totals:
    """Sums over the steps that hold, the most memory at any time, and the first and last evaluation."""

    tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    """Spent in steps."""
    process_peak_bytes: int = 0
    device_peak_bytes: int = 0
    """Zero where none was reported."""
    first_eval: Eval | None = None
    last_eval: Eval | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the cache."""
        return asdict(self)

    @staticmethod
    def from_json(body: dict[str, Any]) -> "Totals":
        """Undo `to_json`. Raises TypeError where it is something else."""
        evals = {name: body.get(name) for name in ("first_eval", "last_eval")}
        return Totals(**body | {name: Eval(**eval_) if eval_ else None for name, eval_ in evals.items()})


class Sum:
    """Totals that are being added up."""

    def __init__(self, start: Totals) -> None:
        self._tokens, self._trained, self._seconds = start.tokens, start.trained_tokens, start.seconds
        self._process, self._device = start.process_peak_bytes, start.device_peak_bytes
        self.first_eval, self.last_eval = start.first_eval, start.last_eval

    def steps(self, lines: Sequence[bytes]) -> bool:
        """Take many lines of steps into account.

        False, and none is, where the tail of one cannot be read: they have to be decoded.
        """
        tails = step_tails(lines)
        if tails is None:
            return False
        tokens, trained, seconds = tails
        self._tokens, self._trained = self._tokens + sum(tokens), self._trained + sum(trained)
        self._seconds += sum(seconds)
        return True

    def event(self, event: Event | None) -> None:
        """Take an event into account.

        Peaks only grow while an engine lives: of its memory events, the last before another kind is enough.
        """
        match event:
            case Step():
                self._tokens += event.tokens
                self._trained += event.trained_tokens
                self._seconds += event.step_s
            case Memory():
                self._process = max(self._process, event.process_peak_bytes or 0)
                self._device = max(self._device, event.device_peak_bytes or 0)
            case Eval():
                self.first_eval, self.last_eval = self.first_eval or event, event

    def totals(self) -> Totals:
        """The totals so far."""
        sums = (self._tokens, self._trained, self._seconds, self._process, self._device)
        return Totals(*sums, self.first_eval, self.last_eval)
