"""Claim: what ft says of itself, whether it holds here, and the figure that shows it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from engine.doctor.finding import State

Verdict = Literal["holds", "broken", "measured", "not run"]
"""measured: a figure without a limit. not run: there was no time for it, or this machine cannot."""

STATES: Mapping[Verdict, State] = {"holds": "ok", "measured": "ok", "not run": "note", "broken": "fault"}


@dataclass(frozen=True)
class Claim:
    """One line of the table."""

    name: str
    """Stable, for scripts: `packed`."""
    text: str
    verdict: Verdict
    figure: str
    """What was measured, in words, or why it was not."""
    seconds: float = 0.0

    @property
    def state(self) -> State:
        """The verdict as a finding's state, for who shows both."""
        return STATES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @staticmethod
    def of(body: Mapping[str, Any]) -> "Claim":
        """The claim that `to_json` made data of."""
        return Claim(**body)


TEXTS: Mapping[str, str] = {
    "resumed": "A resumed run ends as one that was never stopped",
    "memory": "A run takes no more memory than its plan leaves room for",
    "speed": "Speed of training",
    "export": "An export answers as the model that was trained",
    "quantised": "A model in 4 bits begins as the one it was made of",
    "memory-runs-out": "A run that memory is too small for goes on in smaller micro-batches",
    "packed": "Packed rows are learned as padded ones",
    "backends": "The backends learn the same",
}
"""By name, in the order in which they are tried: the families, which take what time is left, come last."""
