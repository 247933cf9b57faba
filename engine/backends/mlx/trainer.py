"""The MLX trainer: an optimizer, and the compiled step in which it moves a model's weights."""

import gc
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers
import numpy as np

from engine.backends.base import BatchScore, MemoryExhausted, StepResult
from engine.backends.files import write_tokenizer
from engine.backends.mlx import adapter_init, state
from engine.backends.mlx.causal_lm import MlxModel, Weights, arrays_of
from engine.backends.mlx.layout import Rows, to_rows
from engine.backends.mlx.ops import MlxOps
from engine.backends.mlx.scaler import LossScale
from engine.config.schema import TrainConfig
from engine.data.types import Batch, Float32
from engine.hardware.memory import is_exhaustion
from engine.objectives.base import Means, Objective, Outputs, Sums


class MlxTrainer:
    """See `engine.backends.base.Trainer`."""

    def __init__(self, model: MlxModel, config: TrainConfig, objective: Objective) -> None:
        self.model, self.config, self.objective, self.ops = model, config, objective, MlxOps()
        decay = config.training.weight_decay
        self.optimizer = mlx.optimizers.AdamW(0.0, weight_decay=decay, bias_correction=True)
        self.optimizer.init(model.trained)
        self.moments: dict[str, Any] = self.optimizer.state
        self.scale = LossScale(model.compute == "fp16")
        self._gradients = {packed: mx.compile(partial(self._accumulated, packed)) for packed in (False, True)}
        self._norm, self._moved = mx.compile(_norm), mx.compile(self._step)

    @property
    def trained(self) -> Weights:
        """The fp32 masters, by path."""
        return self.model.trained

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
            gradients, loss_sum, metrics = self._accumulate(batches, normaliser, seed, poll)
        except (RuntimeError, MemoryError) as error:
            if not is_exhaustion(error):
                raise
            exhausted = str(error)
        if exhausted:  # only here are the failed pass's frames, and the arrays in them, gone
            gc.collect()
            mx.clear_cache()
            raise MemoryExhausted(exhausted)
        norm = float(self._norm(gradients)) / (scale := self.scale.value)
        if self.scale.allows(math.isfinite(norm)):
            self._move(gradients, lr, self._clipping(norm) / scale)
        return StepResult(loss_sum, normaliser, norm, metrics)

    def _accumulate(
        self, batches: Sequence[Batch], normaliser: float, seed: int, poll: Callable[[], None]
    ) -> tuple[Weights, float, dict[str, float]]:
        """Scaled gradients of the loss over the normaliser, the summed loss in nats, and metrics."""
        gradients = {path: mx.zeros(value.shape) for path, value in self.trained.items()}
        total, means = 0.0, Means()
        weight = self.scale.value / normaliser
        for index, batch in enumerate(batches):
            poll()
            # Every micro-batch draws from a key of its own: nothing else that draws can move it, and a
            # step done again draws the same.
            key = mx.array(np.random.SeedSequence([seed, index]).generate_state(2, np.uint32))
            rows = to_rows(batch)
            if self.objective.weighs_tokens and not self.objective.reweighs_tokens:
                loss, gradients = self._gradients[rows.packed](
                    self.trained, gradients, key, mx.array(weight), *arrays_of(rows)
                )
            else:
                loss, gradients, summed = self._compared(batch, rows, gradients, key, weight)
                means.add(summed)
            mx.eval(loss, gradients)
            total += float(loss) / weight
        return gradients, total, means.values

    def _accumulated(
        self,
        packed: bool,
        trained: Weights,
        before: Weights,
        key: mx.array,
        weight: mx.array,
        *rows: mx.array,
    ) -> tuple[mx.array, Weights]:
        """The loss of a micro-batch times `weight`, and its gradients added to those before; compiled."""

        def loss(weights: Weights) -> mx.array:
            self.model.place(weights)
            self.model.drops.start(key)
            return self.model.summed_loss(packed, *rows) * weight

        value, gradients = mx.value_and_grad(loss)(trained)
        return value, {path: before[path] + gradient for path, gradient in gradients.items()}

    def _compared(
        self, batch: Batch, rows: Rows, before: Weights, key: mx.array, weight: float
    ) -> tuple[mx.array, Weights, Sums]:
        """The same for an objective that is more than a weighted sum; not compiled, as its groups are no arrays."""
        ids, segments, where, targets, _ = arrays_of(rows)
        found: dict[str, tuple[Any, float]] = {}

        def loss(weights: Weights) -> mx.array:
            self.model.place(weights)
            self.model.drops.start(key)
            logps = self.model.differentiable_logps(rows.packed, ids, segments, where, targets)
            value, metrics = self._objective(logps[: rows.trained_tokens], batch)
            found.update(metrics)
            return value * weight

        value, gradients = mx.value_and_grad(loss)(self.trained)
        return value, {path: before[path] + gradient for path, gradient in gradients.items()}, found

    def _objective(self, logps: mx.array, batch: Batch) -> tuple[mx.array, Sums]:
        """The objective's loss and metrics from the log-probabilities of the trained tokens, `[n]`."""
        reference = None if batch.reference is None else mx.array(batch.reference)
        loss: mx.array
        loss, metrics = self.objective.loss(Outputs(logps, reference), batch, self.ops)
        return loss, metrics

    def _move(self, gradients: Weights, lr: float, factor: float) -> None:
        """Step the optimizer with the gradients times `factor`."""
        self.model.trained, self.moments = self._moved(
            self.trained, self.moments, gradients, mx.array(lr), mx.array(factor)
        )
        mx.eval(self.trained, self.moments)

    def _step(
        self, trained: Weights, moments: dict[str, Any], gradients: Weights, lr: mx.array, factor: mx.array
    ) -> tuple[Weights, dict[str, Any]]:
        """One step of AdamW; compiled, with the rate as an input so that it is compiled once."""
        self.optimizer.state = {**moments, "learning_rate": lr}
        scaled = {path: gradient * factor for path, gradient in gradients.items()}
        moved: Weights = self.optimizer.apply_gradients(scaled, trained)
        return moved, self.optimizer.state

    def _clipping(self, norm: float) -> float:
        """Factor that makes a gradient of this norm no longer than the recipe's limit."""
        limit = self.config.training.max_grad_norm
        return 1.0 if limit is None else min(1.0, limit / (norm + 1e-6))

    def evaluate(self, batch: Batch) -> BatchScore:
        logps: Float32 = self.model.logps(batch)
        if self.objective.weighs_tokens:
            return BatchScore(-math.fsum((logps * batch.weights[batch.trained]).tolist()))
        loss, metrics = self._objective(mx.array(logps), batch)
        return BatchScore(float(loss), {name: (float(one), count) for name, (one, count) in metrics.items()})

    def save_weights(self, folder: Path) -> None:
        model, tokens = self.model, self.config.model.add_tokens
        if model.adapter is not None:
            model.adapter.save(self.trained, model.folder, folder)
            write_tokenizer(model.folder, tokens, folder)
        else:
            state.save_model(self.trained, model.about, model.folder, folder, tokens)

    def save_state(self, folder: Path) -> None:
        state.save_state(state.State(self.trained, self.moments, self.scale.state, self._taken()), folder)

    def load_state(self, folder: Path) -> None:
        model = self.model
        saved = state.load_state(self.trained, self._taken(), folder)
        model.trained, self.scale.state = saved.trained, saved.scale
        self.moments = self.moments | saved.moments
        if model.adapter is not None:
            model.adapter = model.adapter.go_on(model.network, saved.taken)

    def _taken(self) -> adapter_init.Values:
        return adapter_init.flat(self.model.adapter.taken) if self.model.adapter else {}


def _norm(gradients: Weights) -> mx.array:
    """The global norm of all gradients."""
    return mx.sqrt(sum((mx.square(gradient).sum() for gradient in gradients.values()), mx.zeros(())))
