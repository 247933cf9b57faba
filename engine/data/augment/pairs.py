"""Pairs for preference training: a row's own answer, and beside it what the model answers to the same prompt.

A model that learns to tell its own answers from those of the file moves towards the file (self-play fine-tuning, Chen
et al. 2024, arXiv:2401.01335). The model is asked as it will be asked: by the row's prompt alone.
"""

from collections.abc import Mapping, Sequence

from engine.data.augment import checks
from engine.data.augment.checks import Reason
from engine.data.augment.jobs import Job
from engine.data.augment.maker import Maker
from engine.data.augment.questions import last_answer, pair_of
from engine.data.lint.likeness import WORD


class PairMaker(Maker):
    """Makes a pair of each job; the same answer to the same prompt is taken once."""

    def _source(self, job: Job, step: int) -> str:
        return last_answer(job.rows[0])

    def _text(self, text: str, step: int, source: str) -> str:
        return text.strip()

    def _wrong(
        self, job: Job, step: int, text: str, ended: bool, source: str, said: Sequence[str]
    ) -> Reason | None:
        """Reason against an answer: it may be as bad as it likes, but it has to be an answer, and another one."""
        if not WORD.search(text):
            return "empty"
        if not ended:
            return "cut"
        if self._controls and self._controls.search(text):
            return "echo"
        return "same" if checks.is_alike(text, source) else None

    def _take(self, jobs: Sequence[Job], said: Mapping[int, Sequence[str]]) -> None:
        for job in jobs:
            answer = said[job.number][0]
            before = self._heads.setdefault(job.lines[0], [])
            if any(checks.is_alike(answer, other) for other in before):
                self._reject("same", answer)
                continue
            before.append(answer)
            self.made[job.number] = pair_of(job.rows[0], answer)
