"""The MLX backend: one model, its optimizer, and a compiled step that moves it."""

import gc
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from engine.backends.base import MemoryExhausted, MemoryReading, StepResult
from engine.backends.files import write_tokenizer
from engine.backends.mlx import adapter as adapters
from engine.backends.mlx import adapter_init, families, memory, state
from engine.backends.mlx import generate as answers
from engine.backends.mlx.attention import Blocks, Segments, route
from engine.backends.mlx.kernels import Kernels, Spans
from engine.backends.mlx.layers import Dropout
from engine.backends.mlx.layout import Rows, lay_out
from engine.backends.mlx.loss import head_loss, head_losses, losses_of
from engine.backends.mlx.model import (
    DTYPES,
    body_of,
    checkpoint_layers,
    head_of,
    load_base,
    vocabulary_of,
    with_adapter,
)
from engine.backends.mlx.probes import head_is_linear, packing_is_isolated
from engine.backends.mlx.scaler import LossScale
from engine.backends.mlx.vocabulary import head_path
from engine.config.schema import TrainConfig
from engine.data.types import Batch
from engine.hardware.memory import is_exhaustion
from engine.planning.plan import Plan

WHOLE = (".weight", ".bias")
"""How the names of weights end that are trained whole, beside an adapter too."""
Weights = dict[str, mx.array]
"""Arrays by their path in the model."""


class MlxBackend:
    """See `engine.backends.base.Backend`."""

    def __init__(
        self, model: Any, about: Mapping[str, Any], adapter: adapters.Adapter | None, drops: Dropout,
        plan: Plan, config: TrainConfig, folder: Path,
    ) -> None:  # fmt: skip
        self.model, self.about, self.adapter, self.drops = model, about, adapter, drops
        self.plan, self.config, self.folder = plan, config, folder
        self.windows = families.windows_of(about)
        self.body, self.head = body_of(model), head_of(model)
        self.vocabulary = vocabulary_of(model)
        self.kernels = Kernels(plan.device) if plan.kernels == "mlx-train-perf" else None
        if self.kernels is not None or plan.device == "cpu":
            route(model)
        # fp32 masters, by path and in a fixed order
        self.trained: Weights = {
            path: value.astype(mx.float32)
            for path, value in sorted(tree_flatten(model.trainable_parameters()))
        }
        whole = adapter.beside.get(head_path(model), {}) if adapter else {}
        self.head_trained = adapter is None or "weight" in whole
        """Whether the output layer's weights are trained whole."""
        self.optimizer = mlx.optimizers.AdamW(
            0.0, weight_decay=config.training.weight_decay, bias_correction=True
        )
        self.optimizer.init(self.trained)
        self.moments: dict[str, Any] = self.optimizer.state
        self.scale = LossScale(plan.compute_dtype == "fp16")
        self.packs = self.plain_head = False
        self._gradients = {packed: mx.compile(partial(self._accumulated, packed)) for packed in (False, True)}
        self._losses = {packed: mx.compile(partial(self._token_losses, packed)) for packed in (False, True)}
        self._norm, self._moved = mx.compile(_norm), mx.compile(self._step)

    @classmethod
    def load(
        cls,
        plan: Plan,
        config: TrainConfig,
        folder: Path,
        *,
        adapter: Path | None = None,
        training: bool = True,
    ) -> "MlxBackend":
        mx.set_default_device(mx.cpu if plan.device == "cpu" else mx.gpu)
        memory.set_limits(plan.limit_bytes)
        memory.room_for_threads()
        model, about = load_base(plan, config, folder)
        put_on, drops = with_adapter(model, config, about, folder, adapter)
        if plan.gradient_checkpointing and training:
            checkpoint_layers(model)
        model.train(training)
        backend = cls(model, about, put_on, drops, plan, config, folder)
        backend.plain_head = head_is_linear(backend)
        backend.packs = plan.packing and packing_is_isolated(backend)
        return backend

    def train_step(
        self, batches: Sequence[Batch], lr: float, seed: int, poll: Callable[[], None]
    ) -> StepResult:
        exhausted = ""
        try:
            gradients, loss_sum, tokens = self._accumulate(batches, seed, poll)
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
        return StepResult(loss_sum, tokens, norm)

    def _accumulate(
        self, batches: Sequence[Batch], seed: int, poll: Callable[[], None]
    ) -> tuple[Weights, float, int]:
        """Scaled gradients of the mean loss over all trained tokens, its sum in nats, and their number."""
        gradients = {path: mx.zeros(value.shape) for path, value in self.trained.items()}
        tokens, total = sum(batch.trained_tokens for batch in batches), 0.0
        weight = self.scale.value / tokens
        for index, batch in enumerate(batches):
            poll()
            # Every micro-batch draws from a key of its own: nothing else that draws can move it, and a
            # step done again draws the same.
            key = mx.array(np.random.SeedSequence([seed, index]).generate_state(2, np.uint32))
            rows = lay_out(batch)
            loss, gradients = self._gradients[rows.packed](
                self.trained, gradients, key, mx.array(weight), *_arrays(rows)
            )
            mx.eval(loss, gradients)
            total += float(loss) / weight
        return gradients, total, tokens

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
            self._place(weights)
            self.drops.start(key)
            return self._loss(packed, *rows) * weight

        value, gradients = mx.value_and_grad(loss)(trained)
        return value, {path: before[path] + gradient for path, gradient in gradients.items()}

    def _move(self, gradients: Weights, lr: float, factor: float) -> None:
        """Step the optimizer with the gradients times `factor`."""
        self.trained, self.moments = self._moved(
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
        """What a gradient of this norm is multiplied by, to be no longer than the recipe's limit."""
        limit = self.config.training.max_grad_norm
        return 1.0 if limit is None else min(1.0, limit / (norm + 1e-6))

    def evaluate(self, batch: Batch) -> tuple[float, int]:
        losses = self.log_probabilities(batch)
        return -math.fsum(losses), len(losses)

    def log_probabilities(self, batch: Batch) -> list[float]:
        rows = lay_out(batch)
        losses = self._losses[rows.packed](self.trained, *_arrays(rows))
        return (-np.array(losses)[: rows.trained_tokens]).tolist()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        stop: Collection[int],
        poll: Callable[[], None],
    ) -> list[list[int]]:
        self._rest()
        return answers.generate(self.model, prompts, max_tokens, stop, poll)

    def save_weights(self, folder: Path) -> None:
        if self.adapter is not None:
            self.adapter.save(self.trained, self.folder, folder)
            write_tokenizer(self.folder, self.config.model.add_tokens, folder)
        else:
            state.save_model(self.trained, self.about, self.folder, folder, self.config.model.add_tokens)

    def save_state(self, folder: Path) -> None:
        state.save_state(state.State(self.trained, self.moments, self.scale.state, self._taken()), folder)

    def load_state(self, folder: Path) -> None:
        saved = state.load_state(self.trained, self._taken(), folder)
        self.trained, self.scale.state = saved.trained, saved.scale
        self.moments = self.moments | saved.moments
        if self.adapter is not None:
            self.adapter = self.adapter.go_on(self.model, saved.taken)

    def _taken(self) -> adapter_init.Values:
        return adapter_init.flat(self.adapter.taken) if self.adapter else {}

    def memory(self) -> MemoryReading:
        return memory.reading(self.plan.device)

    def hidden_states(self, ids: mx.array, segments: mx.array | None) -> mx.array:
        """The last layer's output without dropout, `[rows, length, width]`; ids and segments `[rows, length]`."""
        self._rest()
        return self._forward(self.body, ids, segments)

    def logits(self, ids: mx.array) -> mx.array:
        """The model's own logits without dropout, `[rows, length, vocabulary]`."""
        self._rest()
        return self._forward(self.model, ids, None)

    def _rest(self) -> None:
        """The weights in their places, no dropout: as for anything but a training step."""
        self._place(self.trained)
        self.drops.start(None)

    def _place(self, weights: Weights) -> None:
        """Put the trained weights into the model; whole weights in the compute format."""
        compute = DTYPES[self.plan.compute_dtype]
        weights = {
            path: value.astype(compute) if self.adapter is None or path.endswith(WHOLE) else value
            for path, value in weights.items()
        }
        self.model.update(tree_unflatten(list(weights.items())))

    def _forward(self, model: Any, ids: mx.array, segments: mx.array | None) -> Any:
        """What the model, or its body without the head, says of rows padded on the right, where causality hides it."""
        windows = self.windows or [None] * len(self.model.layers)
        if self.kernels is not None:
            return model(ids, [Spans(segments, window, self.kernels) for window in windows])
        if self.plan.device == "cpu":
            return model(ids, [Blocks(segments, window) for window in windows])
        if segments is None and not self.windows:
            return model(ids, None)
        return model(ids, [Segments(segments, window) for window in windows])

    def _loss(
        self,
        packed: bool,
        ids: mx.array,
        segments: mx.array,
        where: mx.array,
        targets: mx.array,
        counted: mx.array,
    ) -> mx.array:
        """Summed loss in nats; the arrays are those of `Rows`."""
        if self.plain_head and self.head is not None:
            hidden = self._picked(self.body, packed, ids, segments, where)
            if self.kernels is not None and self.kernels.takes(self.head):
                return (self.kernels.losses(self.head, self.head_trained, hidden, targets) * counted).sum()
            return head_loss(self.head, self.head_trained)(hidden, targets, counted)
        logits = self._picked(self.model, packed, ids, segments, where)
        return (losses_of(logits, targets) * counted).sum()

    def _token_losses(
        self, packed: bool, trained: Weights, ids: mx.array, segments: mx.array, where: mx.array,
        targets: mx.array, counted: mx.array,
    ) -> mx.array:  # fmt: skip
        """Loss in nats of each trained token, `[n]`; compiled."""
        self._place(trained)
        self.drops.start(None)
        if self.plain_head and self.head is not None:
            hidden = self._picked(self.body, packed, ids, segments, where)
            if self.kernels is not None and self.kernels.takes(self.head):
                return self.kernels.losses(self.head, False, hidden, targets)
            return head_losses(self.head, hidden, targets)
        return losses_of(self._picked(self.model, packed, ids, segments, where), targets)

    def _picked(
        self, model: Any, packed: bool, ids: mx.array, segments: mx.array, where: mx.array
    ) -> mx.array:
        """What the model says at the flat positions `where`, `[n, …]`."""
        output = self._forward(model, ids, segments if packed else None)
        return output.reshape(-1, output.shape[-1])[where]


def _arrays(rows: Rows) -> tuple[mx.array, ...]:
    parts = (rows.input_ids, rows.segment_ids, rows.where, rows.targets, rows.counted)
    return tuple(mx.array(part) for part in parts)


def _norm(gradients: Weights) -> mx.array:
    """The global norm of all gradients."""
    return mx.sqrt(sum((mx.square(gradient).sum() for gradient in gradients.values()), mx.zeros(())))
