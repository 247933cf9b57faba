"""The parity gate: an export, loaded by the program that people will use, against the model that was trained."""

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.tokenization.tokenizer import Tokenizer
from engine.parity import tokens
from engine.parity.divergence import agreement
from engine.parity.exported import Distributions, Exported, Probe
from engine.parity.layers import most_different
from engine.parity.limits import limits_of, precision_of
from engine.parity.proof import Proof
from engine.parity.torch_model import Reference
from engine.runs.directory.trained_model import TrainedModel

Tell = Callable[[str, int, int], None]
"""Called before each row with what is done, rows done and rows in all; it raises where the proof is to stop."""


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

    def prove(
        self,
        opened: Callable[[TrainedModel, Path, Mapping[str, Any]], AbstractContextManager[Exported]],
        out: Path,
        facts: Mapping[str, Any],
        tell: Tell,
    ) -> Proof:
        """Compare the export in a folder, of which `facts` say the precision. One model at a time is in memory.

        Raises ModelError where the trained model does not load, and what opening the export raises.
        """
        trained = self.trained(tell)
        with opened(self.model, out, facts) as exported:
            proof = self.compared(trained, exported, precision_of(facts, out), tell)
            if proof.passed:
                return proof
            tell("comparing weights", 0, 1)
            return replace(proof, layers=most_different(self._reference().weights(), exported.weights()))

    def trained(self, tell: Tell) -> Trained:
        """The trained model's answers. Raises ModelError where it does not load."""
        reference = self._reference()
        answers = _answers(reference.next_tokens, self.probes, "asking the trained model", tell)
        about = f"adapter unmerged, {reference.dtype}" if self.model.adapter else reference.dtype
        found = Trained(answers, reference.tokenizer, about)
        del reference
        gc.collect()
        return found

    def compared(self, trained: Trained, exported: Exported, precision: str, tell: Tell) -> Proof:
        """An open export's answers and tokens against those of the trained model."""
        check = tokens.compare(trained.tokenizer, exported)
        answers = _answers(exported.next_tokens, self.probes, "asking the exported model", tell)
        return Proof(
            agreement(trained.answers, answers),
            limits_of(precision),
            check,
            self.rows,
            trained.about,
            exported.program,
        )

    def _reference(self) -> Reference:
        return Reference(self.model, self.base, self.trust_remote_code)


def _answers(
    ask: Callable[[Sequence[Probe]], Distributions], probes: Sequence[Probe], what: str, tell: Tell
) -> Distributions:
    """The distributions at all places, row by row."""
    found = []
    for done, probe in enumerate(probes):
        tell(what, done, len(probes))
        found.append(ask([probe]))
    logps = np.concatenate([each.logps for each in found])
    ids = [each.ids for each in found if each.ids is not None]
    return Distributions(logps, np.concatenate(ids) if ids else None)
