"""What the events of a run add up to, counted line by line without decoding most of them."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from engine.runs.events import Eval, Event, Memory, Step

_STEP = re.compile(
    rb'"tokens": (\d+), "trained_tokens": (\d+), "tokens_per_s": [^,]+, "step_s": ([-+.\deE]+)\}\s*\Z'
)
"""How a step's line ends, as `engine.runs.events.encode` writes it."""
_END = 200
"""Bytes in which that end lies."""


@dataclass(frozen=True)
class Totals:
    """Sums over the steps that hold, the most memory at any time, and the last evaluation."""

    tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    """Spent in steps."""
    process_peak_bytes: int = 0
    device_peak_bytes: int = 0
    """Zero where none was told."""
    last_eval: Eval | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the cache."""
        return asdict(self)

    @staticmethod
    def from_json(body: dict[str, Any]) -> "Totals":
        """Undo `to_json`. Raises TypeError where it is something else."""
        last = body.get("last_eval")
        return Totals(**{**body, "last_eval": Eval(**last) if last else None})


class Sum:
    """Totals that are being added up."""

    def __init__(self, start: Totals) -> None:
        self._tokens, self._trained, self._seconds = start.tokens, start.trained_tokens, start.seconds
        self._process, self._device = start.process_peak_bytes, start.device_peak_bytes
        self.last_eval = start.last_eval

    def step_line(self, line: bytes) -> bool:
        """Take a step's line into account; False where it is not written as expected, and has to be decoded."""
        found = _STEP.search(line, max(0, len(line) - _END))
        if found is None:
            return False
        try:
            self._seconds += float(found[3])
        except ValueError:
            return False
        self._tokens += int(found[1])
        self._trained += int(found[2])
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
                self.last_eval = event

    def totals(self) -> Totals:
        """What it is by now."""
        return Totals(self._tokens, self._trained, self._seconds, self._process, self._device, self.last_eval)
