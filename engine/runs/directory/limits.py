"""A smaller micro-batch, left in the run directory by the parent of an engine that ran out of memory."""

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from engine.runs.directory.run import Run
from engine.storage.atomic import write_atomic
from engine.storage.regular_files import read_text

if TYPE_CHECKING:
    from engine.planning.plan import Plan

FILE = "limits.json"
SMALLEST_TOKENS = 64
"""Below this, fewer tokens in a micro-batch save nothing that matters."""


@dataclass(frozen=True)
class Limits:
    """Upper bounds of the plan's micro-batch; None leaves it as planned."""

    micro_batch_rows: int | None = None
    micro_batch_tokens: int | None = None

    @staticmethod
    def of(run: Run) -> "Limits":
        """The limits in force; none where the file is not there or is no limits file."""
        try:
            body = json.loads(read_text(run.folder / FILE))
            rows, tokens = int(body["micro_batch_rows"]), int(body["micro_batch_tokens"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return Limits()
        return Limits(max(1, rows), max(1, tokens))

    def explained(self, plan: "Plan") -> "Plan":
        """The plan that was made within these limits, with the reason for them."""
        if self.micro_batch_rows is None:
            return plan
        why = f"{self.micro_batch_rows} rows, {self.micro_batch_tokens} tokens at most: with more, memory ran out"
        return replace(plan, reasons={**plan.reasons, "batch": why})

    def save(self, run: Run) -> None:
        """Put these limits in force for the run's next start."""
        write_atomic(run.folder / FILE, json.dumps(asdict(self)) + "\n")


def halved(plan: "Plan") -> Limits | None:
    """Half of the plan's micro-batch; None where it is as small as it can usefully be."""
    if plan.micro_batch_rows == 1 and not (plan.packing and plan.micro_batch_tokens > 2 * SMALLEST_TOKENS):
        return None
    return Limits(max(1, plan.micro_batch_rows // 2), max(SMALLEST_TOKENS, plan.micro_batch_tokens // 2))
