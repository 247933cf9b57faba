"""The MLX model: its forward passes, log-probabilities and answers, with or without a trainer around it."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from engine.backend_spec import Device, Dtype
from engine.backends.base import Decoder, MemoryReading
from engine.backends.mlx import adapter as adapters
from engine.backends.mlx import families, memory, saved_adapter, vocabulary
from engine.backends.mlx import generate as answers
from engine.backends.mlx.attention import Blocks, Segments, route
from engine.backends.mlx.decode import decoder_of
from engine.backends.mlx.kernels import Kernels, Spans
from engine.backends.mlx.layers import Dropout
from engine.backends.mlx.layout import Rows, to_rows
from engine.backends.mlx.loss import head_logps, head_loss, head_losses, losses_of
from engine.backends.mlx.model import (
    DTYPES,
    body_dtype,
    body_of,
    checkpoint_layers,
    head_of,
    load_base,
    open_model,
    vocabulary_of,
    with_adapter,
)
from engine.backends.mlx.probes import head_is_linear, packing_is_isolated
from engine.backends.mlx.vocabulary import head_path
from engine.backends.sampling import Sampler
from engine.config.schema import TrainConfig
from engine.data.tokenization.new_tokens import NewToken
from engine.data.types import Batch, Float32
from engine.errors import ConfigError
from engine.planning.plan import Plan

WHOLE = (".weight", ".bias")
"""Endings of the names of weights that are trained whole, beside an adapter too."""
Weights = dict[str, mx.array]
"""Arrays by their path in the model."""


class MlxModel:
    """A model of mlx-lm and its adapter. See `engine.backends.base.Model`."""

    def __init__(
        self, network: Any, about: Mapping[str, Any], adapter: adapters.Adapter | None, drops: Dropout,
        folder: Path, device: Device, compute: Dtype, fast: bool = False,
    ) -> None:  # fmt: skip
        """`about` is config.json; `fast` takes the kernels of mlx-train-perf."""
        self.network, self.about, self.adapter, self.drops = network, about, adapter, drops
        self.folder, self.device, self.compute = folder, device, compute
        self.windows = families.windows_of(about)
        self.body, self.head = body_of(network), head_of(network)
        self.vocabulary = vocabulary_of(network)
        self.kernels = Kernels(device) if fast else None
        if fast or device == "cpu":
            route(network)
        self.trained: Weights = {
            path: value.astype(mx.float32)
            for path, value in sorted(tree_flatten(network.trainable_parameters()))
        }
        """Trained weights: fp32 masters, by path and in a fixed order."""
        whole = adapter.beside.get(head_path(network), {}) if adapter else {}
        self.head_trained = adapter is None or "weight" in whole
        """True if the output layer's weights are trained whole."""
        self.supports_packing = self.plain_head = self.spins = False
        self._losses = {packed: mx.compile(partial(self._token_losses, packed)) for packed in (False, True)}

    @classmethod
    def load(cls, plan: Plan, config: TrainConfig, folder: Path, adapter: Path | None = None) -> "MlxModel":
        """The model of `folder` to be trained as the plan says, with a fresh adapter or the one in `adapter`.

        Raises ModelError where either does not load.
        """
        mx.set_default_device(mx.cpu if plan.device == "cpu" else mx.gpu)
        memory.set_limits(plan.limit_bytes)
        memory.room_for_threads()
        network, about = load_base(plan, config, folder)
        put_on, drops = with_adapter(network, config, about, folder, adapter)
        if plan.gradient_checkpointing:
            checkpoint_layers(network)
        network.train()
        fast = plan.kernels == "mlx-train-perf"
        model = cls(network, about, put_on, drops, folder, plan.device, plan.compute_dtype, fast)
        model.plain_head = head_is_linear(model)
        model.supports_packing = plan.packing and packing_is_isolated(model)
        return model

    @classmethod
    def open(
        cls,
        folder: Path,
        adapter: Path | None,
        tokens: Sequence[NewToken] = (),
        trust_remote_code: bool = False,
    ) -> "MlxModel":
        """The model of `folder` to answer and to score, with its adapter, on Apple's GPU where there is one.

        `tokens` are those that were added for the adapter. Raises ModelError.
        """
        device: Device = "mps" if mx.metal.is_available() else "cpu"
        mx.set_default_device(mx.gpu if device == "mps" else mx.cpu)
        memory.room_for_threads()
        network, about = open_model(folder, trust_remote_code)
        mx.eval(network.parameters())
        vocabulary.grow(network, about, tokens, folder)
        network.freeze()
        put_on, drops = None, Dropout(0.0)
        if adapter is not None:
            put_on = replace(saved_adapter.read(adapter, about["model_type"], network), dropout=0.0)
            drops = put_on.install(network)
        dtype = body_dtype(network)
        compute: Dtype = next((name for name, known in DTYPES.items() if known == dtype), "fp32")
        model = cls(network.eval(), about, put_on, drops, folder, device, compute)
        model.plain_head = head_is_linear(model)
        return model

    def logps(self, batch: Batch) -> Float32:
        rows = to_rows(batch)
        losses = self._losses[rows.packed](self.trained, *arrays_of(rows))
        found: Float32 = -np.array(losses)[: rows.trained_tokens]
        return found

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        stop: Collection[int],
        poll: Callable[[], None],
        sampler: Sampler | None = None,
    ) -> list[list[int]]:
        self._rest()
        return answers.generate(self.network, prompts, max_tokens, stop, poll, sampler)

    def stream(
        self, prompt: Sequence[int], max_tokens: int, stop: Collection[int], sampler: Sampler | None = None
    ) -> Iterator[int]:
        self._rest()
        yield from answers.stream(self.network, prompt, max_tokens, stop, sampler)

    def narrow(self) -> None:
        """Nothing: MLX opens a model in the format of its files."""

    @contextmanager
    def decoder(self, slots: int) -> Iterator[Decoder]:
        self._rest()
        yield decoder_of(self.network, slots)

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The base model's answers and log-probabilities, for the length of the block.

        Raises ConfigError where training changes the base's own weights, so that the model as it was is gone.
        """
        if self.adapter is None or self.adapter.beside:
            raise ConfigError(
                "This method compares with the model as it was, which training its own weights changes.",
                "Train an adapter alone: adapter.type: lora, without modules_to_save and model.add_tokens.",
            )
        trained = self.trained
        self.trained = trained | self.adapter.without_effect(self.network)
        try:
            yield
        finally:
            self.trained = trained

    def memory(self) -> MemoryReading:
        return memory.reading(self.device)

    def hidden_states(self, ids: mx.array, segments: mx.array | None) -> mx.array:
        """The last layer's output without dropout, `[rows, length, width]`; ids and segments `[rows, length]`."""
        self._rest()
        return self._forward(self.body, ids, segments)

    def logits(self, ids: mx.array) -> mx.array:
        """The model's own logits without dropout, `[rows, length, vocabulary]`."""
        self._rest()
        return self._forward(self.network, ids, None)

    def _rest(self) -> None:
        """The weights in their places, no dropout: as for anything but a training step."""
        self.place(self.trained)
        self.drops.start(None)

    def place(self, weights: Weights) -> None:
        """Put the trained weights into the network; whole weights in the compute format."""
        compute = DTYPES[self.compute]
        weights = {
            path: value.astype(compute) if self.adapter is None or path.endswith(WHOLE) else value
            for path, value in weights.items()
        }
        self.network.update(tree_unflatten(list(weights.items())))

    def _forward(self, network: Any, ids: mx.array, segments: mx.array | None) -> Any:
        """Run the network, or its body without the head, on rows padded on the right, which causality hides."""
        windows = self.windows or [None] * len(self.network.layers)
        if self.kernels is not None:
            return network(ids, [Spans(segments, window, self.kernels) for window in windows])
        if self.device == "cpu":
            return network(ids, [Blocks(segments, window) for window in windows])
        if segments is None and not self.windows:
            return network(ids, None)
        return network(ids, [Segments(segments, window) for window in windows])

    def summed_loss(
        self,
        packed: bool,
        ids: mx.array,
        segments: mx.array,
        where: mx.array,
        targets: mx.array,
        counted: mx.array,
    ) -> mx.array:
        """Summed loss in nats, each token by its weight; the arrays are those of `Rows`."""
        if self.plain_head and self.head is not None:
            hidden = self._picked(self.body, packed, ids, segments, where)
            if self.kernels is not None and self.kernels.takes(self.head):
                return (self.kernels.losses(self.head, self.head_trained, hidden, targets) * counted).sum()
            return head_loss(self.head, self.head_trained)(hidden, targets, counted)
        logits = self._picked(self.network, packed, ids, segments, where)
        return (losses_of(logits, targets) * counted).sum()

    def differentiable_logps(
        self, packed: bool, ids: mx.array, segments: mx.array, where: mx.array, targets: mx.array
    ) -> mx.array:
        """Log-probability in nats of each target, `[n]`, with its gradient."""
        if self.plain_head and self.head is not None:
            return head_logps(self.head, self._picked(self.body, packed, ids, segments, where), targets)
        return -losses_of(self._picked(self.network, packed, ids, segments, where), targets)

    def _token_losses(
        self, packed: bool, trained: Weights, ids: mx.array, segments: mx.array, where: mx.array,
        targets: mx.array, counted: mx.array,
    ) -> mx.array:  # fmt: skip
        """Loss in nats of each trained token, `[n]`; compiled."""
        self.place(trained)
        self.drops.start(None)
        if self.plain_head and self.head is not None:
            hidden = self._picked(self.body, packed, ids, segments, where)
            if self.kernels is not None and self.kernels.takes(self.head):
                return self.kernels.losses(self.head, False, hidden, targets)
            return head_losses(self.head, hidden, targets)
        return losses_of(self._picked(self.network, packed, ids, segments, where), targets)

    def _picked(
        self, network: Any, packed: bool, ids: mx.array, segments: mx.array, where: mx.array
    ) -> mx.array:
        """Outputs of the network at the flat positions `where`, `[n, …]`."""
        output = self._forward(network, ids, segments if packed else None)
        return output.reshape(-1, output.shape[-1])[where]


def arrays_of(rows: Rows) -> tuple[mx.array, ...]:
    """Ids, segments, places, targets and weights, as the compiled functions take them."""
    parts = (rows.input_ids, rows.segment_ids, rows.where, rows.targets, rows.counted)
    return tuple(mx.array(part) for part in parts)
