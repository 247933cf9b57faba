"""The torch trainer: an optimizer, and the step in which it moves a model's weights."""

import gc
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.backends.base import BatchScore, MemoryExhausted, StepResult
from engine.backends.rates import rate_factors
from engine.backends.torch import state
from engine.backends.torch.causal_lm import TorchModel
from engine.backends.torch.ops import TorchOps
from engine.backends.torch.optimizer import optimizer_of, set_rate
from engine.config.schema import TrainConfig
from engine.data.types import Batch
from engine.hardware.memory import is_exhaustion
from engine.objectives.base import Means, Objective, Outputs, Sums


class TorchTrainer:
    """See `engine.backends.base.Trainer`."""

    def __init__(self, model: TorchModel, config: TrainConfig, objective: Objective) -> None:
        self.model, self.config, self.objective = model, config, objective
        self.ops = TorchOps(model.device)
        self.hooks = model.hooks
        self.trained = {n: p for n, p in sorted(model.network.named_parameters()) if p.requires_grad}
        self.optimizer = optimizer_of(config.training, self.trained, rate_factors(config, self.trained))
        # fp16 overflows: gradients are scaled up, and a step that overflowed is skipped and scaled less.
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=model.compute == "fp16")

    def step(
        self,
        batches: Sequence[Batch],
        normaliser: float,
        lr: float,
        seed: int,
        poll: Callable[[], None],
    ) -> StepResult:
        exhausted = ""
        try:
            result = self._accumulate(batches, normaliser, seed, poll)
        except (RuntimeError, MemoryError) as error:
            if not is_exhaustion(error):
                raise
            exhausted = str(error)
        finally:
            if exhausted or sys.exception() is not None:
                self.optimizer.zero_grad(set_to_none=True)
        if exhausted:  # only here are the failed pass's frames, and the tensors in them, gone
            gc.collect()
            self.model.gauge.release()
            raise MemoryExhausted(exhausted)
        self._move(lr, finite=math.isfinite(result.grad_norm))
        return result

    def _accumulate(
        self, batches: Sequence[Batch], normaliser: float, seed: int, poll: Callable[[], None]
    ) -> StepResult:
        """Gradients of the micro-batches' total loss over the normaliser, clipped."""
        total = torch.zeros((), device=self.model.device)
        means = Means()
        for index, batch in enumerate(batches):
            poll()
            # Every micro-batch draws from a state of its own: nothing else that draws can move it, and a
            # step done again draws the same.
            torch.manual_seed(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64).item())
            loss, metrics = self._loss(batch)
            self.scaler.scale(loss / normaliser).backward()
            total += loss.detach()
            means.add(metrics)
        if (penalty := self.hooks.penalty()) is not None:
            self.scaler.scale(penalty).backward()
        self.scaler.unscale_(self.optimizer)
        return StepResult(float(total), normaliser, float(self._clip()), means.values)

    def _loss(self, batch: Batch) -> tuple[Tensor, Sums]:
        """The objective's summed loss of a batch, differentiable, and its metrics."""
        given = self.objective.weighs_tokens and not self.objective.reweighs_tokens
        if given and (batch.weights[batch.trained] == 1.0).all():
            return self.model.summed_loss(batch), {}
        return self._compared(self.model.differentiable_logps(batch), batch)

    def _compared(self, logps: Tensor, batch: Batch) -> tuple[Tensor, Sums]:
        """The objective's loss and metrics from the log-probabilities of the trained tokens, `[n]`."""
        reference = None if batch.reference is None else self.ops.array(batch.reference)
        loss: Tensor
        loss, metrics = self.objective.loss(Outputs(logps, reference), batch, self.ops)
        return loss, {name: (_number(value), count) for name, (value, count) in metrics.items()}

    def _move(self, lr: float, finite: bool) -> None:
        """Step the optimizer; a gradient that is no number would poison the weights, so it is dropped."""
        set_rate(self.optimizer, lr)
        if finite or self.scaler.is_enabled():  # the scaler finds out by itself, and scales less
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if finite:
            self.hooks.after_step()
        self.optimizer.zero_grad(set_to_none=True)

    def evaluate(self, batch: Batch) -> BatchScore:
        model = self.model
        losses = model.token_losses(batch, model.plain_head)
        if self.objective.weighs_tokens:
            return BatchScore(float((losses * self.ops.array(batch.weights[batch.trained])).sum()))
        loss, metrics = self._compared(-losses, batch)
        return BatchScore(float(loss), metrics)

    def save_weights(self, folder: Path) -> None:
        model, tokens = self.model, self.config.model.add_tokens
        state.save_weights(model.network, self.hooks, model.folder, folder, tokens)

    def save_state(self, folder: Path) -> None:
        state.save_state(self.trained, self.optimizer, self.scaler, self.hooks, folder)

    def load_state(self, folder: Path) -> None:
        state.load_state(self.trained, self.optimizer, self.scaler, self.hooks, folder)

    def _clip(self) -> Tensor:
        """The gradient's global norm, and the gradient scaled down to the recipe's limit."""
        limit = self.config.training.max_grad_norm
        return torch.nn.utils.clip_grad_norm_(self.trained.values(), limit or float("inf"))


def _number(value: Tensor | float) -> float:
    return value.item() if isinstance(value, Tensor) else value
