"""Evaluation of a run while it trains: validation loss, metrics, sample answers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from engine.backends.base import Trainer
from engine.config.schema import TrainConfig
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Batch, Dataset, Message, Question
from engine.errors import ConfigError
from engine.evaluation.measuring import Measuring
from engine.evaluation.scores import (
    ANSWER_ROWS,
    answer_all,
    log_probabilities,
    validation_loss,
    within_memory,
)
from engine.metrics import registry
from engine.metrics.base import Need, Results, scored
from engine.metrics.evaluation.perplexity import METRIC as PERPLEXITY
from engine.metrics.evaluation.perplexity import perplexity
from engine.objectives.base import Objective
from engine.runs.directory.events import Eval, Sample, Warned
from engine.runs.directory.limits import Limits
from engine.runs.directory.run import Run
from engine.training.comparison import Comparison
from engine.training.feed import MicroBatcher
from engine.training.heartbeat import Heartbeat
from engine.training.progress import Progress

Found = TypeVar("Found")


class Evaluator:
    """Evaluates as the recipe says; touches neither weights nor training's random numbers."""

    def __init__(
        self, run: Run, config: TrainConfig, dataset: Dataset, trainer: Trainer, objective: Objective,
        tokenizer: Tokenizer, batcher: MicroBatcher, comparison: Comparison, heartbeat: Heartbeat,
        positions: int | None,
    ) -> None:  # fmt: skip
        """`positions` is the most tokens of a prompt with its answer; None where the model sets no bound."""
        self.run, self.config, self.dataset, self.trainer = run, config, dataset, trainer
        self.objective, self.tokenizer = objective, tokenizer
        self.batcher, self.comparison, self.heartbeat = batcher, comparison, heartbeat
        self.positions = positions
        self.metrics = [registry.load(name) for name in config.evaluation.metrics]
        self.best_by = registry.load(config.checkpoints.best)
        """Metric that tells which checkpoint is the best, and when to stop early."""
        self.answer_rows = min(ANSWER_ROWS, Limits.of(run).micro_batch_rows or ANSWER_ROWS)

    def evaluate(self, progress: Progress) -> bool:
        """Evaluate after `progress.step` steps and take the result in; returns True if it is the best so far.

        The scores before the first step are there to compare with, never the best: nothing is trained then.
        Raises Interrupted, with `progress` as it was, where `poll` does.
        """
        event = self._event(progress.step)
        samples = self._samples(progress.step)
        best = False
        if event is not None:
            value = event.scores.get(self.best_by.name)
            if value is None:
                raise ConfigError(
                    f"checkpoints.best: {self.best_by.name} cannot be computed on these validation rows.",
                    "Give validation rows that have what it needs, or use checkpoints.best: eval_loss.",
                )
            best = progress.step > 0 and self.best_by.improves(value, progress.best_value)
            self._take_in(progress, value, best)
            self.run.emit(replace(event, best=best))
        for sample in samples:
            self.run.emit(sample)
        progress.evaluated = progress.step
        return best

    def _event(self, step: int) -> Eval | None:
        """The scores after a step; None where there are no validation rows."""
        measured = self._over_rows(self._loss)
        loss, own = measured if measured is not None else (None, {})
        needs = frozenset(need for metric in self.metrics for need in metric.needs)
        questions = self.dataset.questions[: self.config.evaluation.max_questions]
        results = Results(
            loss=loss,
            answers=self._answers(questions) if "answers" in needs and questions else None,
            references=[question.answer for question in questions],
            log_probabilities=self._over_rows(self._log_probabilities)
            if "log_probabilities" in needs
            else None,
            calls=[question.calls for question in questions],
            **self._labels(questions, needs),
        )
        if loss is None:
            return None
        found = own | scored([metric for metric in self.metrics if metric.name != PERPLEXITY.name], results)
        by = None if self.best_by.name == registry.EVAL_LOSS else self.best_by.name
        surprise = perplexity(results) if self.objective.weighs_tokens else None
        return Eval(step=step, loss=loss, perplexity=surprise, metrics=found, best_by=by)

    def _loss(self, batches: list[Batch]) -> tuple[float, dict[str, float]]:
        assert self.dataset.validation is not None
        batches = self.comparison.with_divergence(self.dataset.validation, batches)
        return validation_loss(self.trainer, self.objective, batches, self.heartbeat.progress)

    def _log_probabilities(self, batches: list[Batch]) -> list[float]:
        return log_probabilities(self.trainer.model, batches, self.heartbeat.progress)

    def _over_rows(self, compute: Callable[[list[Batch]], Found]) -> Found | None:
        """Compute something over all validation rows, in smaller batches where memory runs out."""
        rows = self.dataset.validation
        if rows is None or not len(rows):
            return None
        return self.batcher.over(rows, np.arange(len(rows)), compute)

    def _answers(self, questions: Sequence[Question]) -> list[str]:
        answers, self.answer_rows = within_memory(
            lambda rows: answer_all(
                self.trainer.model, self.tokenizer, questions, self.heartbeat.progress, self.heartbeat.check,
                rows, self.positions,
            ),
            self.answer_rows,
            self._warn_of_memory,
        )  # fmt: skip
        return answers

    def _labels(self, questions: Sequence[Question], needs: frozenset[Need]) -> dict[str, Any]:
        measuring = Measuring(
            needs,
            self.heartbeat.progress,
            self.heartbeat.check,
            self._warn_of_memory,
            batch_rows=self.answer_rows,
        )
        return measuring.labels(self.trainer.model, self.tokenizer, questions)

    def _warn_of_memory(self, rows: int) -> None:
        note = f"Out of memory while answering: continuing with {rows} answers at a time."
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
    def _take_in(progress: Progress, value: float, best: bool) -> None:
        if progress.step == 0:
            return
        if best:
            progress.best_value, progress.best_step, progress.without_better = value, progress.step, 0
        else:
            progress.without_better += 1
