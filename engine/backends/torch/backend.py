"""The torch backend: one model, its optimizer, and a step that moves it."""

import gc
import math
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from engine.backends.base import MemoryExhausted, MemoryReading, StepResult
from engine.backends.torch import generate as answers
from engine.backends.torch import memory, state
from engine.backends.torch.adapter_hooks import hooks_of
from engine.backends.torch.attention import NAME, SegmentAttention
from engine.backends.torch.block import replace_layers
from engine.backends.torch.checkpointing import HostMemory
from engine.backends.torch.liger import Loss, proven_loss
from engine.backends.torch.loading import trying_out
from engine.backends.torch.loss import HeadLoss, head_logits, token_losses
from engine.backends.torch.model import DTYPES, causal_of, load_model
from engine.backends.torch.optimizer import optimizer_of
from engine.backends.torch.probes import head_is_linear, packing_is_isolated
from engine.backends.torch.products import refuse_wrong_products
from engine.backends.torch.vocabulary import head_of
from engine.config.adapters import PROMPT_TYPES
from engine.config.schema import TrainConfig
from engine.data.types import UNTRAINED, Batch, Int32
from engine.hardware.memory import is_exhaustion
from engine.planning.plan import Plan


class TorchBackend:
    """See `engine.backends.base.Backend`."""

    own_layers: ClassVar[bool] = True
    """Whether attention and decoder layers take our forms; False where the model brings faster ones of its own."""

    def __init__(self, model: Any, plan: Plan, config: TrainConfig, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self.plan = plan
        self.config = config
        self.device = torch.device(plan.device)
        self.host_memory = HostMemory(model) if plan.activation_offloading else None
        self.gauge = memory.Gauge(self.device)
        self.packs = False
        self.attention = SegmentAttention()
        self.companion = hooks_of(model)
        self.prompted = config.adapter.type in PROMPT_TYPES
        """Whether virtual tokens stand in front of a row: then only the whole model says what the row's own say."""
        causal = causal_of(model)
        known = causal.config._attn_implementation == "sdpa" and causal._supports_attention_backend
        self.segmented = self.own_layers and known and not self.prompted
        if self.segmented:
            self.attention.install(model)
            replace_layers(model, self.attention, DTYPES[plan.weights_dtype])
        self.causal, self.body, self.head = causal, causal.base_model, head_of(causal.get_output_embeddings())
        self.plain_head = not self.prompted
        self.head_loss: Loss = HeadLoss.apply
        self.autocast = config.adapter.type == "none" and plan.compute_dtype != "fp32"
        self.trained = {n: p for n, p in sorted(model.named_parameters()) if p.requires_grad}
        self.optimizer = optimizer_of(config.training, list(self.trained.values()))
        # fp16 overflows: gradients are scaled up, and a step that overflowed is skipped and scaled less.
        self.scaler = torch.amp.GradScaler(plan.device, enabled=plan.compute_dtype == "fp16")

    load_model = staticmethod(load_model)

    @classmethod
    def load(
        cls,
        plan: Plan,
        config: TrainConfig,
        folder: Path,
        *,
        adapter: Path | None = None,
        training: bool = True,
    ) -> Self:
        refuse_wrong_products(torch.device(plan.device), DTYPES[plan.compute_dtype])
        backend = cls(cls.load_model(plan, config, folder, adapter), plan, config, folder)
        backend.model.train(training)
        with trying_out(folder):
            backend.plain_head = backend.plain_head and head_is_linear(backend)
        if plan.kernels == "liger" and training and backend.plain_head and backend.head.plain:
            head = backend.head
            backend.head_loss = proven_loss(head.weight, head.bias, DTYPES[plan.compute_dtype])
        backend.packs = plan.packing and packing_is_isolated(backend)
        return backend

    def train_step(
        self, batches: Sequence[Batch], lr: float, seed: int, poll: Callable[[], None]
    ) -> StepResult:
        exhausted = ""
        try:
            result = self._accumulate(batches, seed, poll)
        except (RuntimeError, MemoryError) as error:
            if not is_exhaustion(error):
                raise
            exhausted = str(error)
        finally:
            if exhausted or sys.exception() is not None:
                self.optimizer.zero_grad(set_to_none=True)
        if exhausted:  # only here are the failed pass's frames, and the tensors in them, gone
            gc.collect()
            self.gauge.release()
            raise MemoryExhausted(exhausted)
        self._move(lr, finite=math.isfinite(result.grad_norm))
        return result

    def _accumulate(self, batches: Sequence[Batch], seed: int, poll: Callable[[], None]) -> StepResult:
        """Gradients of the micro-batches' total loss over all their trained tokens, clipped."""
        trained_tokens = sum(batch.trained_tokens for batch in batches)
        total = torch.zeros((), device=self.device)
        for index, batch in enumerate(batches):
            poll()
            # Every micro-batch draws from a state of its own: nothing else that draws can move it, and a
            # step done again draws the same.
            torch.manual_seed(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64).item())
            loss = self._loss(batch)
            self.scaler.scale(loss / trained_tokens).backward()
            total += loss.detach()
        if (penalty := self.companion.penalty()) is not None:
            self.scaler.scale(penalty).backward()
        self.scaler.unscale_(self.optimizer)
        return StepResult(float(total), trained_tokens, float(self._clip()))

    def _move(self, lr: float, finite: bool) -> None:
        """Step the optimizer; a gradient that is no number would poison the weights, so it is dropped."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if finite or self.scaler.is_enabled():  # the scaler finds out by itself, and scales less
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if finite:
            self.companion.stepped()
        self.optimizer.zero_grad(set_to_none=True)

    def evaluate(self, batch: Batch) -> tuple[float, int]:
        losses = self.token_losses(batch, self.plain_head)
        return float(losses.sum()), len(losses)

    def log_probabilities(self, batch: Batch) -> list[float]:
        return [-loss for loss in self.token_losses(batch, self.plain_head).tolist()]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        stop: Collection[int],
        poll: Callable[[], None],
    ) -> list[list[int]]:
        with self._answering():
            if self.prompted:  # padding would stand between virtual tokens and prompt
                return [answers.continued(self.model, one, max_tokens, stop, poll) for one in prompts]
            return answers.generate(self.model, prompts, max_tokens, stop, poll)

    def save_weights(self, folder: Path) -> None:
        state.save_weights(self.model, self.companion, self.folder, folder, self.config.model.add_tokens)

    def save_state(self, folder: Path) -> None:
        state.save_state(self.trained, self.optimizer, self.scaler, self.companion, folder)

    def load_state(self, folder: Path) -> None:
        state.load_state(self.trained, self.optimizer, self.scaler, self.companion, folder)

    def memory(self) -> MemoryReading:
        return self.gauge.reading()

    def _loss(self, batch: Batch) -> Tensor:
        """Summed loss in nats over the batch's trained tokens."""
        where, targets = _predictions(batch)
        if not self.plain_head:
            return self._losses_of_logits(batch, where, targets).sum()
        hidden = self._hidden(batch).flatten(0, 1).index_select(0, where.to(self.device))
        head = self.head
        if head.rows is not None:
            return HeadLoss.apply(
                hidden, targets.to(self.device), head.weight, head.bias, head.rows, head.ids
            )
        return self.head_loss(hidden, targets.to(self.device), head.weight, head.bias)

    def _losses_of_logits(self, batch: Batch, where: Tensor, targets: Tensor) -> Tensor:
        """Losses `[n]` from the model's own logits, for a head that is more than a product."""
        logits = self._forward(self.model, batch).logits[
            :, -batch.input_ids.shape[1] :
        ]  # after virtual tokens
        logits = logits.flatten(0, 1).index_select(0, where.to(self.device))
        return cross_entropy(logits.float(), targets.to(self.device), reduction="none")

    def hidden_states(self, batch: Batch) -> Tensor:
        """The last layer's output without gradients, `[rows, length, width]`."""
        with self._evaluating(), torch.no_grad():
            return self._hidden(batch)

    def logits(self, batch: Batch) -> Tensor:
        """The model's own logits without gradients, `[rows, length, vocabulary]` in fp32."""
        with self._evaluating(), torch.no_grad():
            return self._forward(self.model, batch).logits.float()

    def products(self, batch: Batch) -> Tensor:
        """The same as products of the last hidden states with the head, as the loss makes them."""
        head, hidden = self.head, self.hidden_states(batch)
        with torch.no_grad():
            made = head_logits(hidden.flatten(0, 1), head.weight, head.bias, head.rows, head.ids)
        return made.float().unflatten(0, hidden.shape[:2])

    def token_losses(self, batch: Batch, plain_head: bool) -> Tensor:
        """Loss in nats of each trained token, `[n]`, without gradients; see `checks.head_is_plain`."""
        where, targets = _predictions(batch)
        with self._evaluating(), torch.no_grad():
            if not plain_head:
                return self._losses_of_logits(batch, where, targets)
            hidden = self._hidden(batch).flatten(0, 1).index_select(0, where.to(self.device))
            head = self.head
            return token_losses(hidden, targets.to(self.device), head.weight, head.bias, head.rows, head.ids)

    def _hidden(self, batch: Batch) -> Tensor:
        """The last layer's output, `[rows, length, width]`."""
        return self._forward(self.body, batch).last_hidden_state

    def _forward(self, model: Any, batch: Batch) -> Any:
        """What the model, or its body without the head, says of a batch.

        Padding lies on the right, where causality hides it from every real token: no mask is needed.
        """
        ids = torch.from_numpy(batch.input_ids.astype(np.int64)).to(self.device)
        packed = int(batch.segment_ids.max()) > 1
        positions = torch.from_numpy(batch.position_ids.astype(np.int64)).to(self.device) if packed else None
        self.attention.lengths = _lengths(batch.segment_ids[0]) if packed else None
        with self._casting(), self._keeping():
            return model(input_ids=ids, position_ids=positions, attention_mask=None, use_cache=False)

    def _casting(self) -> torch.autocast:
        """Full training computes in the plan's format on weights that stay in fp32."""
        return torch.autocast(self.device.type, DTYPES[self.plan.compute_dtype], enabled=self.autocast)

    def _keeping(self) -> Any:
        """Where a forward pass keeps what its backward pass needs."""
        return self.host_memory.keeping() if self.host_memory and torch.is_grad_enabled() else nullcontext()

    def _clip(self) -> Tensor:
        """The gradient's global norm, and the gradient scaled down to the recipe's limit."""
        limit = self.config.training.max_grad_norm
        return torch.nn.utils.clip_grad_norm_(self.trained.values(), limit or float("inf"))

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        was = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Answers need a key-value cache, which packed rows and checkpointing cannot have."""
        with self._evaluating(), self._casting():
            if self.segmented:
                self.model.set_attn_implementation("sdpa")
            try:
                yield
            finally:
                if self.segmented:
                    self.model.set_attn_implementation(NAME)


def _predictions(batch: Batch) -> tuple[Tensor, Tensor]:
    """Flat positions that predict a trained token, and those tokens: a label is predicted one position earlier."""
    labels = batch.labels[:, 1:]
    follows = batch.position_ids[:, 1:] > 0
    rows, columns = np.nonzero((labels != UNTRAINED) & follows)
    where = rows * batch.labels.shape[1] + columns
    return torch.from_numpy(where), torch.from_numpy(labels[rows, columns].astype(np.int64))


def _lengths(segments: Int32) -> list[int]:
    """Tokens of each example in a packed row; padding at the end counts as one more."""
    edges = np.flatnonzero(np.diff(segments)) + 1
    return np.diff([0, *edges, len(segments)]).tolist()
