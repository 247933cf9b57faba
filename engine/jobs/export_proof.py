"""Proof of an export, as its job does it: what it is compared with, the report, and what a person is told."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import plugins
from engine.errors import CheckFailed
from engine.export.adapter import in_peft_layout
from engine.export.base import Exporter
from engine.hardware.sharing import Sharing
from engine.jobs.base import TELL_EVERY_S, JobContext
from engine.runs.directory.events import Phase, Proved, Warned
from engine.runs.directory.trained_model import TrainedModel
from engine.storage.atomic import write_atomic

if TYPE_CHECKING:
    from engine.parity.proof import Proof
    from engine.parity.summed import Summed

PROOF = "proof.json"
"""File of an export's run: the report of the parity gate, whether the export was kept or not."""


@dataclass(frozen=True)
class Outcome:
    """The proof, or the reason for which there is none."""

    proof: "Proof | None"
    not_proved: str | None = None

    @property
    def report(self) -> dict[str, Any] | None:
        """The proof as export.json and the card have it."""
        return self.proof.as_json() if self.proof else None


@dataclass(frozen=True)
class ToProve:
    """An export that is written: the model with the folder of its base, the writer's facts, and what was asked for."""

    exporter: Exporter
    model: TrainedModel
    base: Path
    facts: Mapping[str, Any]
    options: Mapping[str, Any]
    data: str | None
    """Source of the rows; None for the validation rows of the model's run."""
    wanted: bool
    """False where no proof was asked for."""

    def prove(self, context: JobContext, making: Path, sharing: Sharing) -> Outcome:
        """Compare what is in the folder `making` with the trained model. Raises CheckFailed over the gate's limits."""
        from engine.parity.summed import NoSumError

        if self.exporter.prove is None:
            return Outcome(None, "nothing that reads the format could answer")
        if not self.wanted:
            return Outcome(None, "asked for with --no-prove")
        try:
            proof = self._compared(context, making, sharing)
        except NoSumError as error:
            reason = (
                f"the weighted sum of these models cannot be computed without merging them: {error.message}"
            )
            context.run.emit(Warned(message=f"Nothing was proved: {reason}"))
            return Outcome(None, reason)
        body = json.dumps(proof.as_json(), indent=2, ensure_ascii=False)
        write_atomic(context.run.folder / PROOF, body + "\n")
        report = "\n".join(proof.lines())
        context.run.emit(Proved(passed=proof.passed, report=report, metrics=proof.metrics))
        if not proof.passed:
            raise self._failure(proof, context.run.folder / PROOF)
        return Outcome(proof)

    def _compared(self, context: JobContext, making: Path, sharing: Sharing) -> "Proof":
        from engine.jobs.held_out import gate_of, plain_base
        from engine.parity.exported import PLAIN_BASE

        assert self.exporter.prove is not None
        with plain_base(self.base, making.parent, context.poll) as plain:
            gate = gate_of(context, self.data, self.model, plain)
            gate = replace(gate, summed=self._summed(context.run.folder))
            opened = plugins.resolved(self.exporter.prove)
            facts = {**self.facts, PLAIN_BASE: str(plain)}
            return gate.prove(opened, making, facts, _telling(context, sharing), context.poll)

    def _summed(self, folder: Path) -> "Summed | None":
        """The models whose sum it is, their adapters in PEFT's layout."""
        if self.exporter.sums is None:
            return None
        summed: Summed | None = plugins.resolved(self.exporter.sums)(self.model, self.options)
        if summed is None:
            return None
        models = tuple(
            in_peft_layout(model, self.base, folder / f"peft-{index}")
            for index, model in enumerate(summed.models)
        )
        return replace(summed, models=models)

    def _failure(self, proof: "Proof", report: Path) -> CheckFailed:
        layers = ", ".join(f"{name} ({difference:.1%})" for name, difference in proof.layers)
        most = f" Weights that differ most: {layers}." if layers else ""
        first = f" First: {proof.tokens.different[0]}." if proof.tokens.different else ""
        keep = (
            f"{self.exporter.finer}, or keep it without proof"
            if self.exporter.finer
            else "To keep it without proof"
        )
        return CheckFailed(
            f"The {self.exporter.name} export does not answer as the trained model: "
            f"{'; '.join(proof.failures)}.{first}{most}",
            f"It was not kept; the report is {report}. {keep}: --no-prove",
        )


def _telling(context: JobContext, sharing: Sharing) -> Callable[[str, int, int], None]:
    """Report of the gate's progress, which lets other jobs compute in between."""
    last = 0.0

    def tell(what: str, done: int, total: int) -> None:
        nonlocal last
        context.poll()
        sharing.start()
        if done == 0 or time.monotonic() - last >= TELL_EVERY_S:
            last = time.monotonic()
            context.run.emit(Phase(name="proving", done=done, total=total, note=what))

    return tell
