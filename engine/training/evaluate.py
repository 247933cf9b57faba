"""Look at a run: held-out loss, metrics, sample answers."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engine.backends.base import Backend
from engine.config.schema import TrainConfig
from engine.data.tokenizer import Tokenizer
from engine.data.types import Batch, Dataset, Examples, Message
from engine.evaluation import exact_match, held_out_loss
from engine.runs.events import Eval, Sample
from engine.runs.run import Run
from engine.training.progress import Progress

Cut = Callable[[Examples, npt.NDArray[np.int64]], list[Batch]]
"""Cuts examples into the micro-batches in force."""


class Evaluator:
    """Evaluates as the recipe says; touches neither weights nor training's random numbers."""

    def __init__(
        self, run: Run, config: TrainConfig, dataset: Dataset, backend: Backend,
        tokenizer: Tokenizer, cut: Cut, poll: Callable[[int, int], None], check: Callable[[], None],
    ) -> None:  # fmt: skip
        self.run, self.config, self.dataset, self.backend = run, config, dataset, backend
        self.tokenizer, self.cut, self.poll, self.check = tokenizer, cut, poll, check

    def evaluate(self, progress: Progress) -> bool:
        """Evaluate after `progress.step` steps and take the result in; whether it is the best so far.

        The loss before the first step is a mark to compare with, never the best: nothing is trained then.
        Raises Interrupted, with `progress` as it was, where `poll` does.
        """
        loss, metrics = self._held_out(), self._metrics()
        samples = self._samples(progress.step)
        best = loss is not None and progress.step > 0 and loss < (progress.best_loss or math.inf)
        if loss is not None:
            self._take_in(progress, loss, best)
            perplexity = math.exp(min(loss, 700.0))  # e^710 is beyond a double
            self.run.emit(
                Eval(step=progress.step, loss=loss, perplexity=perplexity, metrics=metrics, best=best)
            )
        for sample in samples:
            self.run.emit(sample)
        progress.evaluated = progress.step
        return best

    def _held_out(self) -> float | None:
        rows = self.dataset.validation
        if rows is None or not len(rows):
            return None
        return held_out_loss(self.backend, self.cut(rows, np.arange(len(rows))), self.poll)

    def _metrics(self) -> dict[str, float]:
        if "exact_match" not in self.config.evaluation.metrics or not self.dataset.questions:
            return {}
        questions = self.dataset.questions[: self.config.evaluation.max_questions]
        return {"exact_match": exact_match(self.backend, self.tokenizer, questions, self.poll, self.check)}

    def _samples(self, step: int) -> list[Sample]:
        samples = []
        for done, prompt in enumerate(self.config.evaluation.samples):
            self.poll(done, len(self.config.evaluation.samples))
            ids = self.tokenizer.prompt_ids([Message("user", prompt)])
            answer = self.backend.generate(
                [ids], self.config.evaluation.sample_tokens, self.tokenizer.stop_ids, self.check
            )[0]
            samples.append(Sample(step=step, prompt=prompt, text=self.tokenizer.decode(answer)))
        return samples

    @staticmethod
    def _take_in(progress: Progress, loss: float, best: bool) -> None:
        if progress.step == 0:
            progress.first_loss = loss
        elif best:
            progress.best_loss, progress.best_step, progress.without_better = loss, progress.step, 0
        else:
            progress.without_better += 1
