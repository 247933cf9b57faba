"""Evaluation during training: validation loss, metrics, sample answers."""

import math

import numpy as np

from engine.backends.base import MemoryExhausted, Trainer
from engine.config.schema import TrainConfig
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Dataset, Message
from engine.evaluation.scores import ANSWER_ROWS, exact_match, validation_loss
from engine.hardware.memory import is_exhaustion
from engine.objectives.base import Objective
from engine.runs.directory.events import Eval, Sample, Warned
from engine.runs.directory.limits import Limits
from engine.runs.directory.run import Run
from engine.training.feed import MicroBatcher
from engine.training.heartbeat import Heartbeat
from engine.training.progress import Progress


class Evaluator:
    """Evaluates as the recipe says; touches neither weights nor training's random numbers."""

    def __init__(
        self, run: Run, config: TrainConfig, dataset: Dataset, trainer: Trainer, objective: Objective,
        tokenizer: Tokenizer, batcher: MicroBatcher, heartbeat: Heartbeat, positions: int | None,
    ) -> None:  # fmt: skip
        """`positions` is the most tokens of a prompt with its answer; None where the model sets no bound."""
        self.run, self.config, self.dataset, self.trainer = run, config, dataset, trainer
        self.objective, self.tokenizer = objective, tokenizer
        self.batcher, self.heartbeat, self.positions = batcher, heartbeat, positions
        self.answer_rows = min(ANSWER_ROWS, Limits.of(run).micro_batch_rows or ANSWER_ROWS)

    def evaluate(self, progress: Progress) -> bool:
        """Evaluate after `progress.step` steps and take the result in; whether it is the best so far.

        The loss before the first step is a mark to compare with, never the best: nothing is trained then.
        Raises Interrupted, with `progress` as it was, where `poll` does.
        """
        loss, metrics = self._validation_loss(), self._metrics()
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

    def _validation_loss(self) -> float | None:
        rows = self.dataset.validation
        if rows is None or not len(rows):
            return None
        while True:
            batches = self.batcher.cut(rows, np.arange(len(rows)))
            try:
                return validation_loss(self.trainer, self.objective, batches, self.heartbeat.progress)
            except Exception as error:
                exhausted = _exhausted(error)
            # Only here are the failed pass's frames, and their tensors, gone.
            self.batcher.shrink(batches, exhausted, evaluating=True)

    def _metrics(self) -> dict[str, float]:
        if "exact_match" not in self.config.evaluation.metrics or not self.dataset.questions:
            return {}
        questions = self.dataset.questions[: self.config.evaluation.max_questions]
        while True:
            try:
                share = exact_match(
                    self.trainer.model, self.tokenizer, questions, self.heartbeat.progress, self.heartbeat.check,
                    self.answer_rows, self.positions,
                )  # fmt: skip
                return {"exact_match": share}
            except Exception as error:
                if self.answer_rows == 1:
                    raise
                _exhausted(error)
            self.answer_rows //= 2
            note = f"Out of memory while answering: going on with {self.answer_rows} answers at once."
            self.run.emit(Warned(message=note))

    def _samples(self, step: int) -> list[Sample]:
        samples = []
        for done, prompt in enumerate(self.config.evaluation.samples):
            self.heartbeat.progress(done, len(self.config.evaluation.samples))
            ids = self.tokenizer.prompt_ids([Message("user", prompt)])
            most = self.config.evaluation.sample_tokens
            if self.positions is not None:
                most = min(most, self.positions - len(ids))
            answer = self.trainer.model.generate([ids], most, self.tokenizer.stop_ids, self.heartbeat.check)[
                0
            ]
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


def _exhausted(error: Exception) -> MemoryExhausted:
    """What an evaluation that ran out of memory said. Raises any other error again."""
    if not is_exhaustion(error):
        raise error
    return MemoryExhausted(str(error))
