"""The torch model: its forward passes, log-probabilities and answers, with or without a trainer around it."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from engine.backend_spec import Dtype
from engine.backends.base import Decoder, MemoryReading
from engine.backends.layout import Rows, rows_of
from engine.backends.sampling import Sampler
from engine.backends.torch import generate as answers
from engine.backends.torch import memory
from engine.backends.torch.adapter_hooks import hooks_of
from engine.backends.torch.answering_layers import AnsweringForm
from engine.backends.torch.answering_model import AnsweringModel
from engine.backends.torch.attention import NAME, SegmentAttention, hides_by_mask, looks_in_chunks
from engine.backends.torch.block import replace_layers
from engine.backends.torch.checkpointing import HostMemory
from engine.backends.torch.decode import decoding
from engine.backends.torch.liger import Loss, proven_loss
from engine.backends.torch.loading import load_adapter, load_causal, merges, trying_out
from engine.backends.torch.loss import HeadLogps, HeadLoss, head_logits, token_losses
from engine.backends.torch.model import DTYPES, body_of, causal_of, load_model
from engine.backends.torch.neftune import Neftune
from engine.backends.torch.probes import head_is_linear, packing_is_isolated
from engine.backends.torch.products import refuse_wrong_products
from engine.backends.torch.row_adapters import RowAdapters, share
from engine.backends.torch.vocabulary import grow, head_of
from engine.config.adapters import PROMPT_TYPES
from engine.config.schema import TrainConfig
from engine.data.tokenization.new_tokens import NewToken
from engine.data.types import Batch, Float32
from engine.errors import ConfigError
from engine.hardware.probe import cpu_has_bf16
from engine.models.local import read_config
from engine.planning.plan import Plan


class TorchModel:
    """A transformers model and its adapter. See `engine.backends.base.Model`."""

    own_layers: ClassVar[bool] = True
    """True if attention and decoder layers take our forms to train; False where the model brings faster ones."""

    def __init__(
        self, network: Any, folder: Path, device: str, compute: Dtype, *, forms: torch.dtype | None = None,
        prompted: bool = False, adapter_alone: bool = True, autocast: bool = False, offloading: bool = False,
    ) -> None:  # fmt: skip
        """`forms` is the format in which our own layers keep what the backward pass needs; None leaves the model's own
        layers. `prompted`: virtual tokens stand in front of a row, so that only the whole model says what the row's own
        say. `adapter_alone`: no weight of the base is trained. `offloading` keeps layers' inputs in the host's memory.
        """
        self.network, self.folder, self.compute = network, folder, compute
        self.device = torch.device(device)
        self.prompted, self.adapter_alone, self.autocast = prompted, adapter_alone, autocast
        self.host_memory = HostMemory(network) if offloading else None
        self.gauge = memory.Gauge(self.device)
        self.hooks = hooks_of(network)
        self.supports_packing, self.spins = False, device == "cpu"
        self.attention = SegmentAttention()
        causal = causal_of(network)
        known = causal.config._attn_implementation == "sdpa" and causal._supports_attention_backend
        self.segmented = forms is not None and known and not hides_by_mask(causal.config) and not prompted
        if self.segmented:
            self.attention.install(network)
            replace_layers(network, self.attention, forms)
        self.causal, self.body, self.head = causal, body_of(causal), head_of(causal.get_output_embeddings())
        self.plain_head = not prompted
        self.row_adapters: RowAdapters | None = None
        """The adapters that share the network, each row of a batch with its own; None where it has one at most."""
        self.decoder_type: Callable[[AnsweringModel, int], Decoder] | None = None
        """Makes the decoder that keeps its rows apart, with so many slots; None until that is tried."""
        self.answering_form: AnsweringForm | None = None
        """How a model that only answers multiplies; None where it is trained, or has its own."""
        self.head_loss: Loss = HeadLoss.apply
        self.noise: Neftune | None = None

    load_network = staticmethod(load_model)

    @staticmethod
    def casts(plan: Plan, config: TrainConfig) -> bool:
        """Return True if products are computed in another format than the weights are held in."""
        return config.adapter.type == "none" and plan.compute_dtype != "fp32"

    @classmethod
    def load(cls, plan: Plan, config: TrainConfig, folder: Path, adapter: Path | None = None) -> Self:
        """The model of `folder` to be trained as the plan says, with a fresh adapter or the one in `adapter`.

        Raises ModelError where either does not load.
        """
        refuse_wrong_products(torch.device(plan.device), DTYPES[plan.compute_dtype])
        own = config.adapter.type != "none" and not config.adapter.modules_to_save
        model = cls(
            cls.load_network(plan, config, folder, adapter), folder, plan.device, plan.compute_dtype,
            forms=DTYPES[plan.weights_dtype] if cls.own_layers else None,
            prompted=config.adapter.type in PROMPT_TYPES,
            adapter_alone=own and not config.model.add_tokens,
            autocast=cls.casts(plan, config),
            offloading=plan.activation_offloading,
        )  # fmt: skip
        model.network.train()
        model._try_out()
        if config.training.neftune_alpha:
            model.noise = Neftune(model.causal.get_input_embeddings(), config.training.neftune_alpha)
        if plan.kernels == "liger" and model.plain_head and model.head.plain:
            head = model.head
            model.head_loss = proven_loss(head.weight, head.bias, DTYPES[plan.compute_dtype])
        packing = plan.packing and not looks_in_chunks(model.causal.config)
        model.supports_packing = packing and packing_is_isolated(model)
        return model

    @classmethod
    def open(
        cls,
        folder: Path,
        adapter: Path | None,
        tokens: Sequence[NewToken] = (),
        trust_remote_code: bool = False,
    ) -> Self:
        """The model of `folder` to answer and to score, its adapter folded into the weights, on the fastest device.

        `tokens` are those that were added for the adapter. Raises ModelError, and MachineError where torch multiplies
        wrongly here.
        """
        network = cls._opened(folder, trust_remote_code)
        grow(network, tokens)
        prompted = False
        if adapter is not None:
            network = load_adapter(network, adapter)
            prompted = network.active_peft_config.is_prompt_learning
            if not prompted and merges(network):  # virtual tokens are in no weight
                network = network.merge_and_unload()
        return cls._ready(network, folder, prompted)

    @classmethod
    def open_shared(cls, folder: Path, adapters: Mapping[str, Path], trust_remote_code: bool = False) -> Self:
        """The model of `folder` with several LoRA adapters by name, to answer through its `decoder` alone: each row
        with the adapter that it names, or with none.

        Raises ModelError where a folder does not load, ConfigError where an adapter cannot share its base.
        """
        network, rows = share(cls._opened(folder, trust_remote_code), adapters)
        model = cls._ready(network, folder, prompted=False)
        model.row_adapters = rows
        return model

    @staticmethod
    def _opened(folder: Path, trust_remote_code: bool) -> Any:
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
        # One token at a time, a CPU is fastest in fp32: nothing is cast on the way.
        dtype = torch.float32 if device == "cpu" else "auto"
        network = load_causal(folder, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        refuse_wrong_products(network.device, network.dtype)
        return network

    @classmethod
    def _ready(cls, network: Any, folder: Path, prompted: bool) -> Self:
        compute: Dtype = next((name for name, known in DTYPES.items() if known == network.dtype), "fp32")
        device = str(network.device.type)
        network.eval().requires_grad_(False)
        model = cls(network, folder, device, compute, prompted=prompted, adapter_alone=False)
        model._try_out()
        model.answering_form = AnsweringForm(model.causal)
        return model

    def _try_out(self) -> None:
        """Compute a few tokens. Raises ModelError where the model does not run."""
        with trying_out(self.folder):
            self.plain_head = self.plain_head and head_is_linear(self)

    def logps(self, batch: Batch) -> Float32:
        found: Float32 = (-self.token_losses(batch, self.plain_head)).cpu().numpy()
        return found

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        stop: Collection[int],
        poll: Callable[[], None],
        sampler: Sampler | None = None,
    ) -> list[list[int]]:
        with self.answering():
            if not self.prompted:
                return answers.generate(self.network, prompts, max_tokens, stop, poll, sampler)
            # padding would stand between virtual tokens and prompt
            samplers = sampler.apart() if sampler else [None] * len(prompts)
            return [
                answers.continued(self.network, one, max_tokens, stop, poll, own)
                for one, own in zip(prompts, samplers, strict=True)
            ]

    def stream(
        self, prompt: Sequence[int], max_tokens: int, stop: Collection[int], sampler: Sampler | None = None
    ) -> Iterator[int]:
        with self.answering():
            yield from answers.stream(self.network, prompt, max_tokens, stop, sampler)

    def narrow(self) -> None:
        if self.device.type != "cpu" or self.compute != "fp32" or not cpu_has_bf16():
            return
        about = read_config(self.folder)
        if (about.get("dtype") or about.get("torch_dtype")) == "bfloat16":
            if self.answering_form is not None:
                self.answering_form.restore()
            self.network.to(torch.bfloat16)
            self.compute, self.decoder_type = "bf16", None
            self.answering_form = AnsweringForm(self.causal)

    @contextmanager
    def decoder(self, slots: int) -> Iterator[Decoder]:
        with self.answering(), decoding(self, slots) as decoder:
            yield decoder

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The base model's answers and log-probabilities, for the length of the block.

        Raises ConfigError where training changes the base's own weights, so that the model as it was is gone.
        """
        if not self.adapter_alone:
            raise ConfigError(
                "This method compares with the model as it was, which training its own weights changes.",
                "Train an adapter alone: adapter.type: lora, without modules_to_save and model.add_tokens.",
            )
        with self.hooks.without_adapter():
            yield

    def memory(self) -> MemoryReading:
        return self.gauge.reading()

    def summed_loss(self, batch: Batch) -> Tensor:
        """Summed loss in nats over the batch's trained tokens, each counted once; its gradient is made with it."""
        where, targets = self._predictions(batch)
        if not self.plain_head:
            return self._losses_of_logits(batch, where, targets).sum()
        hidden, head = self._hidden_at(batch, where), self.head
        if head.rows is not None:
            return HeadLoss.apply(hidden, targets, head.weight, head.bias, head.rows, head.ids)
        return self.head_loss(hidden, targets, head.weight, head.bias)

    def differentiable_logps(self, batch: Batch) -> Tensor:
        """Log-probability in nats of each trained token, `[n]`, with its gradient."""
        where, targets = self._predictions(batch)
        if not self.plain_head:
            return -self._losses_of_logits(batch, where, targets)
        hidden, head = self._hidden_at(batch, where), self.head
        return HeadLogps.apply(hidden, targets, head.weight, head.bias, head.rows, head.ids)

    def token_losses(self, batch: Batch, plain_head: bool) -> Tensor:
        """Loss in nats of each trained token, `[n]`, without gradients; see `probes.head_is_linear`."""
        where, targets = self._predictions(batch)
        with self.evaluating(), torch.no_grad():
            if not plain_head:
                return self._losses_of_logits(batch, where, targets)
            hidden, head = self._hidden_at(batch, where), self.head
            return token_losses(hidden, targets, head.weight, head.bias, head.rows, head.ids)

    def hidden_states(self, batch: Batch) -> Tensor:
        """The last layer's output without gradients, `[rows, length, width]`."""
        with self.evaluating(), torch.no_grad():
            return self._hidden(batch)

    def logits(self, batch: Batch) -> Tensor:
        """The model's own logits without gradients, `[rows, length, vocabulary]` in fp32."""
        with self.evaluating(), torch.no_grad():
            return self._forward(self.network, batch).logits.float()

    def products(self, batch: Batch) -> Tensor:
        """The same as products of the last hidden states with the head, as the loss makes them."""
        head, hidden = self.head, self.hidden_states(batch)
        with torch.no_grad():
            made = head_logits(hidden.flatten(0, 1), head.weight, head.bias, head.rows, head.ids)
        return made.float().unflatten(0, hidden.shape[:2])

    def _predictions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Flat positions in the batch's rows that predict a trained token, and those tokens."""
        trained = batch.trained
        where, targets = self._rows(batch).places[trained], batch.targets[trained].astype(np.int64)
        return torch.from_numpy(where).to(self.device), torch.from_numpy(targets).to(self.device)

    def _losses_of_logits(self, batch: Batch, where: Tensor, targets: Tensor) -> Tensor:
        """Losses `[n]` from the model's own logits, for a head that is more than a product."""
        width = self._rows(batch).ids.shape[1]
        logits = self._forward(self.network, batch).logits[:, -width:]  # after virtual tokens
        logits = logits.flatten(0, 1).index_select(0, where)
        return cross_entropy(logits.float(), targets, reduction="none")

    def _rows(self, batch: Batch) -> Rows:
        return rows_of(batch, share=self.segmented)

    def _hidden_at(self, batch: Batch, where: Tensor) -> Tensor:
        """The last layer's output at these flat positions, `[n, width]`."""
        return self._hidden(batch).flatten(0, 1).index_select(0, where)

    def _hidden(self, batch: Batch) -> Tensor:
        """The last layer's output, `[rows, length, width]`."""
        return self._forward(self.body, batch).last_hidden_state

    def _forward(self, network: Any, batch: Batch) -> Any:
        """Run the network, or its body without the head, on a batch.

        Padding lies on the right, where causality hides it from every real token: no mask is needed.
        """
        rows = self._rows(batch)
        ids = torch.from_numpy(rows.ids.astype(np.int64)).to(self.device)
        positions = rows.positions()
        places = None if positions is None else torch.from_numpy(positions).to(self.device)
        self.attention.lengths, self.attention.prefixes = rows.lengths, rows.prefixes
        if self.noise is not None:
            self.noise.lay(rows, torch.from_numpy(batch.lengths))
        with self.casting(), self._keeping():
            return network(input_ids=ids, position_ids=places, attention_mask=None, use_cache=False)

    def casting(self) -> torch.autocast:
        """Full training computes in the plan's format on weights that stay in fp32."""
        return torch.autocast(self.device.type, DTYPES[self.compute], enabled=self.autocast)

    def _keeping(self) -> Any:
        """Context in which a forward pass keeps what its backward pass needs."""
        return self.host_memory.keeping() if self.host_memory and torch.is_grad_enabled() else nullcontext()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Without dropout, for the length of the block."""
        was = self.network.training
        self.network.eval()
        try:
            yield
        finally:
            self.network.train(was)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answers need a key-value cache, which packed rows and checkpointing cannot have."""
        with self.evaluating(), self.casting():
            self.attention.lengths = self.attention.prefixes = (
                None  # those of the last packed row are no prompt's
            )
            if self.segmented:
                self.network.set_attn_implementation("sdpa")
            try:
                yield
            finally:
                if self.segmented:
                    self.network.set_attn_implementation(NAME)
