"""The training loop: which examples when, at what rate, when to look, when to save, when to end.

It reads from top to bottom. Before each step it does what is due after the steps already made (evaluate, save);
so a run that is resumed at any step first catches up with what it had not finished.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from engine.backends.base import Interrupted, MemoryExhausted, StepResult, Trainer
from engine.backends.result_files import ResultFiles
from engine.config.schema import TrainConfig
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Batch, Dataset
from engine.objectives.base import Objective
from engine.planning.plan import Plan
from engine.runs.directory import checkpoints
from engine.runs.directory.card_mark import keep_own_card
from engine.runs.directory.control import Control
from engine.runs.directory.events import Memory, Phase, Saved, Step, Warned
from engine.runs.directory.result import result_name
from engine.runs.directory.run import Run
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining
from engine.training.comparison import Comparison
from engine.training.evaluate import Evaluator
from engine.training.feed import ExampleFeed, MicroBatcher
from engine.training.heartbeat import Heartbeat, Watch
from engine.training.monitors import PressureWatch, check_divergence
from engine.training.progress import Progress
from engine.training.schedule import learning_rate

MEMORY_EVERY_S = 1.0


def train(
    run: Run,
    config: TrainConfig,
    plan: Plan,
    dataset: Dataset,
    trainer: Trainer,
    objective: Objective,
    tokenizer: Tokenizer,
    files: ResultFiles,
    control: Control,
    resume_from: Path | None = None,
    watches: Sequence[Watch] = (),
) -> str:
    """Train to the end, or to a stop; returns `completed`, `stopped` or `early_stopping`.

    `watches` are asked between micro-batches whether there is something to warn of.
    However it ends, a full checkpoint and the adapter are on disk. Raises FtError where the run cannot continue.
    """
    loop = Loop(run, config, plan, dataset, trainer, objective, tokenizer, files, control, watches)
    return loop.run_from(resume_from)


class Loop:
    """One run's loop and its state."""

    def __init__(
        self, run: Run, config: TrainConfig, plan: Plan, dataset: Dataset, trainer: Trainer, objective: Objective,
        tokenizer: Tokenizer, files: ResultFiles, control: Control, watches: Sequence[Watch] = (),
    ) -> None:  # fmt: skip
        self.run, self.config, self.plan, self.trainer, self.control = run, config, plan, trainer, control
        self.objective, self.files = objective, files
        self.progress = Progress(
            micro_batch_rows=plan.micro_batch_rows, micro_batch_tokens=plan.micro_batch_tokens
        )
        self.heartbeat = Heartbeat(run, control, (PressureWatch().check, *watches))
        self.batcher = MicroBatcher(run, config, plan, trainer.model, self.progress)
        # Any id does, as nothing attends to padding; the tokenizer's own may have no row in the embedding. Runs that an
        # earlier version began keep it: in a mixture of experts, what padding is may change how others are rounded.
        padding = 0 if plan.row_order == "shuffled" else tokenizer.pad_id
        self.dataset = dataset
        self.feed = ExampleFeed(dataset.train, config, plan, self.batcher, padding)
        self.comparison = Comparison(objective, trainer.model, self.batcher, self.heartbeat)
        self.evaluator = Evaluator(
            run, config, dataset, trainer, objective, tokenizer, self.batcher, self.comparison, self.heartbeat,
            plan.positions,
        )  # fmt: skip
        self.saved_at = -1
        self.phase = ""
        self.memory_at = 0.0

    def run_from(self, checkpoint: Path | None) -> str:
        compared = self._compare()
        if checkpoint is not None:
            self._resume(checkpoint)
        try:
            reason = self._loop() if compared else "stopped"
        except Interrupted:
            reason = "stopped"
        self._save()
        self._publish(reason)
        return reason

    def _compare(self) -> bool:
        """Compute the reference while the model is as before the first step; False where a stop is asked for."""
        try:
            self.comparison.prepare(self.feed, self.plan.steps, self.dataset.validation)
        except Interrupted:
            return False
        return True

    def _loop(self) -> str:
        progress, config = self.progress, self.config
        while True:
            step, done = progress.step, progress.step == self.plan.steps
            if progress.evaluated != step and (done or step % config.evaluation.every == 0):
                self.phase = "evaluating"
                if self.evaluator.evaluate(progress):
                    checkpoints.mark_best(self.run.checkpoints, self._save())
                if self._out_of_patience():
                    return "early_stopping"
            if done:
                return "completed"
            if self.control.take_save_request() or (step and step % config.checkpoints.every == 0):
                self._save()
            if self.phase != "training":
                self.phase = "training"
                self.run.emit(Phase(name="training", done=step, total=self.plan.steps))
            self._step()

    def _step(self) -> None:
        """One step of the optimizer, done again with smaller micro-batches where memory runs out."""
        step, started = self.progress.step, time.perf_counter()
        rate = learning_rate(self.config.training, step, self.plan.steps)
        seed = int(np.random.SeedSequence([self.config.seed, step]).generate_state(1, np.uint64)[0])
        while True:
            batches = self.feed.step(step)
            try:
                batches = self.comparison.with_divergence(self.feed.examples, batches)
                normaliser = self.objective.normaliser(batches)
                result = self.trainer.step(batches, normaliser, rate, seed, self.heartbeat.check)
                break
            except MemoryExhausted as error:
                self.batcher.shrink(batches, error)
        self.progress.step += 1
        if warning := check_divergence(self.progress, result.loss, result.grad_norm):
            self.run.emit(Warned(message=warning))
        self._report(result, batches, rate, time.perf_counter() - started)

    def _report(self, result: StepResult, batches: Sequence[Batch], rate: float, seconds: float) -> None:
        tokens = sum(len(batch.tokens) for batch in batches)
        self.run.emit(
            Step(
                step=self.progress.step,
                total=self.plan.steps,
                epoch=self.progress.step / self.feed.steps_per_epoch,
                loss=result.loss,
                lr=rate,
                grad_norm=result.grad_norm,
                tokens=tokens,
                trained_tokens=sum(batch.trained_tokens for batch in batches),
                tokens_per_s=tokens / seconds,
                step_s=seconds,
                metrics=result.metrics,
            )
        )
        if time.monotonic() - self.memory_at >= MEMORY_EVERY_S:
            self.memory_at = time.monotonic()
            reading, system = self.trainer.model.memory(), psutil.virtual_memory()
            self.run.emit(
                Memory(
                    process_bytes=reading.process_bytes,
                    process_peak_bytes=reading.process_peak_bytes,
                    device_bytes=reading.device_bytes,
                    device_peak_bytes=reading.device_peak_bytes,
                    system_used_bytes=system.total - system.available,
                    system_total_bytes=system.total,
                )
            )

    def _out_of_patience(self) -> bool:
        patience = self.config.evaluation.early_stopping_patience
        return patience is not None and self.progress.without_better >= patience

    def _resume(self, checkpoint: Path) -> None:
        self.progress.take(Progress.load(checkpoint / checkpoints.PROGRESS))
        self.trainer.load_state(checkpoint)
        # A parent that restarts a run smaller says so in the plan: the smaller of the two is in force.
        self.progress.micro_batch_rows = min(self.progress.micro_batch_rows, self.plan.micro_batch_rows)
        self.progress.micro_batch_tokens = min(self.progress.micro_batch_tokens, self.plan.micro_batch_tokens)
        self.saved_at = self.progress.step
        checkpoints.drop_after(self.run.checkpoints, self.progress.step, self.progress.best_step)

    def _save(self) -> Path:
        """Write a checkpoint of this step; where there is one, only the loop's own state can have moved."""
        step = self.progress.step
        target = self.run.checkpoints / checkpoints.name_of(step)
        if self.saved_at == step:
            with explaining():
                write_atomic(target / checkpoints.PROGRESS, self.progress.text())
            return target
        self.run.emit(Phase(name="saving"))
        checkpoints.save(self.run.checkpoints, step, self._write)
        self.saved_at, self.phase = step, "saving"
        checkpoints.prune(self.run.checkpoints, self.config.checkpoints.keep)
        self.run.emit(Saved(step=step, path=f"checkpoints/{target.name}", kind="checkpoint"))
        return target

    def _write(self, folder: Path) -> None:
        self.trainer.save_weights(folder / self._result_name())
        self.files.complete(folder / self._result_name())
        self.trainer.save_state(folder)
        write_atomic(folder / checkpoints.PROGRESS, self.progress.text())

    def _publish(self, reason: str) -> None:
        """Put the run's result beside its checkpoints: that of the checkpoint which `checkpoints.publish` asks for."""
        wanted = self.config.checkpoints.publish
        best = checkpoints.named(self.run.checkpoints, "best")
        if wanted == "best" and best is None:
            note = "No checkpoint has a validation loss yet, so the last one becomes the result."
            self.run.emit(Warned(message=note))
        of_best = wanted == "best" or (wanted == "auto" and reason == "early_stopping")
        last = self.run.checkpoints / checkpoints.name_of(self.progress.step)
        source = best if best is not None and of_best else last
        name = self._result_name()
        target = self.run.folder / name

        def complete(folder: Path) -> None:
            self.files.complete(folder)
            keep_own_card(target, folder)

        checkpoints.publish(source / name, target, complete)
        self.run.emit(Saved(step=checkpoints.step_of(source), path=name, kind=name))

    def _result_name(self) -> str:
        return result_name(self.config)
