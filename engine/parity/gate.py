"""The parity gate: an export, loaded by the program that people will use, against the model that was trained."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.tokenization.tokenizer import Tokenizer
from engine.parity import tokens
from engine.parity.divergence import agreement
from engine.parity.exported import LIKELIEST, Distributions, Exported, Heartbeat, Probe
from engine.parity.layers import most_different
from engine.parity.limits import limits_of, precision_of
from engine.parity.proof import Compared, Proof
from engine.parity.summed import Summed, SummedReference
from engine.parity.torch_model import Reference
from engine.runs.directory.trained_model import TrainedModel

Tell = Callable[[str, int, int], None]
"""Called before each row with what is done, rows done and rows in all."""
Opened = Callable[[TrainedModel, Path, Mapping[str, Any], Heartbeat], AbstractContextManager[Exported]]
"""Opens an export: `engine.export.base.Prove`."""


@dataclass(frozen=True)
class Trained:
    """Answers of the trained model, by which exports are measured; `about` says how it computed."""

    answers: Distributions
    tokenizer: Tokenizer
    about: str


@dataclass(frozen=True)
class Gate:
    """A trained model, the folder of its base, and the places at which its exports are compared with it."""

    model: TrainedModel
    base: Path
    probes: tuple[Probe, ...]
    rows: str
    """Where the places are, for a person."""
    trust_remote_code: bool = False
    summed: Summed | None = None
    """The models whose weighted sum the export is compared with, in place of the one model."""

    def prove(
        self, opened: Opened, out: Path, facts: Mapping[str, Any], tell: Tell, heartbeat: Heartbeat
    ) -> Proof:
        """Compare the export in a folder, of which `facts` say the precision. One model at a time is in memory.

        Raises ModelError where the trained model does not load, and what opening the export and the heartbeat raise.
        """
        trained = self.trained(tell, heartbeat)
        with opened(self.model, out, facts, heartbeat) as exported:
            proof = self.compared(trained, exported, precision_of(facts, out), tell)
            if proof.passed:
                return proof
            tell("comparing weights", 0, 1)
            weights = self._reference(heartbeat).weights()
            return replace(proof, layers=most_different(weights, exported.weights()))

    def trained(self, tell: Tell, heartbeat: Heartbeat) -> Trained:
        """The trained model's answers. Raises ModelError where it does not load."""
        reference = self._reference(heartbeat)
        answers = _answers(reference.next_tokens, self.probes, "asking the trained model", tell)
        found = Trained(answers, reference.tokenizer, reference.about)
        del reference
        gc.collect()
        return found

    def compared(self, trained: Trained, exported: Exported, precision: str, tell: Tell) -> Proof:
        """An open export's answers and tokens against those of the trained model."""
        check = tokens.compare(trained.tokenizer, exported)
        probes = tuple(_wanting(self.probes, trained.answers))
        answers = _answers(exported.next_tokens, probes, "asking the exported model", tell)
        return Proof(
            agreement(trained.answers, answers),
            limits_of(precision) if self.summed is None or self.summed.exact else None,
            check,
            Compared.of(self.probes, self.rows),
            trained.about,
            exported.program,
        )

    def _reference(self, heartbeat: Heartbeat) -> Reference | SummedReference:
        if self.summed is not None:
            return SummedReference(self.summed, self.base, self.trust_remote_code, heartbeat)
        return Reference(self.model, self.base, self.trust_remote_code, heartbeat)


def _wanting(probes: Sequence[Probe], answers: Distributions) -> Iterator[Probe]:
    """The probes, with the trained model's likeliest tokens at each place."""
    most = min(LIKELIEST, answers.logps.shape[1])
    start = 0
    for probe in probes:
        logps = answers.logps[start : start + len(probe.positions)]
        start += len(logps)
        wanted = np.argpartition(-logps, most - 1, axis=1)[:, :most]
        yield replace(probe, wanted=wanted.astype(np.int32))


def _answers(
    ask: Callable[[Sequence[Probe]], Distributions], probes: Sequence[Probe], what: str, tell: Tell
) -> Distributions:
    """The distributions at all places, row by row."""
    found = []
    for done, probe in enumerate(probes):
        tell(what, done, len(probes))
        found.append(ask([probe]))
    return Distributions.joined(found)
