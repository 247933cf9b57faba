"""Continuous batching with a transformers model: rows join and leave between two tokens. See `base.Decoder`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from engine.backends.alone_decoder import AloneDecoder
from engine.backends.base import Arrival, Decoder
from engine.backends.torch import decode_attention
from engine.backends.torch.answering_layers import MISFIT, TOLERANCE
from engine.backends.torch.answering_model import AnsweringModel
from engine.backends.torch.decode_cache import RowCache
from engine.backends.torch.decode_rows import Rows
from engine.backends.torch.mixed_decode import MixedDecoder, forms_of
from engine.backends.torch.model import DTYPES, causal_of
from engine.data.types import Float32

PREFILL_TOKENS = 2048
"""Most tokens, padding included, of prompts that are read together."""
PADDING = 1.25
"""Most tokens that are read for each real one; padding costs as much as they do."""
STRETCHED = {"dynamic", "longrope"}
"""Rotations that change for all rows of a pass with the furthest place of any, beyond the lengths of pretraining."""


@contextmanager
def decoding(model: AnsweringModel, slots: int) -> Iterator[Decoder]:
    """A decoder of `model`: the fastest in which a trial shows that rows stay apart."""
    before = decode_attention.install(model.causal)
    try:
        if model.decoder_type is None:
            able: list[type[MixedDecoder | BatchDecoder]] = []
            if not _stretches(model):
                able = [MixedDecoder] * bool(forms_of(model)) + [BatchDecoder] * _can_batch(model)
            model.decoder_type = next((each for each in able if rows_stay_apart(model, each)), _alone)
        yield model.decoder_type(model, slots)
    finally:
        if before:
            model.causal.set_attn_implementation(before)


class BatchDecoder:
    """Rows in one batch. The prompts of new rows are read apart from it, padded on the right, where causality hides
    the padding."""

    def __init__(self, model: AnsweringModel, slots: int) -> None:
        self.model, self.slots, self.cache = model, slots, RowCache(slots)
        self.adapters: list[str | None] = []
        self._rows = Rows()

    @property
    def rows(self) -> list[int]:
        return [*self._rows.keys]

    @property
    def reading(self) -> tuple[int, ...]:
        return ()

    @torch.no_grad()
    def add(self, arrivals: Sequence[Arrival]) -> list[int]:
        assert len(self._rows.keys) + len(arrivals) <= self.slots, "no slot is free"
        read = [(part, *self._read([arrivals[at] for at in part])) for part in _parts(arrivals)]
        keys = self._rows.new_keys(len(arrivals))
        for part, cache, logits in read:
            self.cache.join(cache, [len(arrivals[at].prompt) for at in part])
            self._rows.join([keys[at] for at in part], logits)
            self.adapters += [arrivals[at].adapter for at in part]
        return keys

    def logits(self, row: int) -> Float32:
        return self._rows.logits_of(row)

    def likeliest(self) -> dict[int, int]:
        return self._rows.likeliest()

    @torch.no_grad()
    def step(self, tokens: Mapping[int, int]) -> None:
        mask, positions = self.cache.advance()
        keys = self._rows.keys
        ids = torch.tensor([[tokens[key]] for key in keys], device=self.model.device)
        self._place(self.adapters)
        last = torch.zeros(len(keys), dtype=torch.long, device=ids.device)
        logits = self._forward(
            last, input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=self.cache
        )
        self._rows.take((), logits)

    def remove(self, row: int) -> None:
        at = self._rows.remove(row)
        self.cache.leave(at)
        self.adapters[at] = self.adapters[-1]
        self.adapters.pop()

    def _read(self, arrivals: Sequence[Arrival]) -> tuple[Any, Tensor]:
        """Keys and values of prompts, and the logits of what follows each, `[rows, vocabulary]`."""
        lengths = [len(one.prompt) for one in arrivals]
        ids = np.zeros((len(arrivals), max(lengths)), np.int64)
        for row, one in zip(ids, arrivals, strict=True):
            row[: len(one.prompt)] = one.prompt
        self._place([one.adapter for one in arrivals])
        device = self.model.device
        places = torch.arange(max(lengths), device=device).expand(len(arrivals), -1)
        cache, last = DynamicCache(), torch.tensor(lengths, device=device) - 1
        logits = self._forward(
            last,
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=None,
            position_ids=places,
            past_key_values=cache,
        )
        return cache, logits

    def _place(self, adapters: Sequence[str | None]) -> None:
        """Say which adapter answers each row of the next pass."""
        if self.model.row_adapters is not None:
            self.model.row_adapters.place(adapters)

    def _forward(self, last: Tensor, **inputs: Any) -> Tensor:
        """Logits `[rows, vocabulary]` at the places `last` of each row."""
        model, rows = self.model, torch.arange(len(last), device=last.device)
        if model.plain_head:
            hidden = model.body(**inputs, use_cache=True).last_hidden_state
            logits: Tensor = model.causal.get_output_embeddings()(hidden[rows, last])
            return logits
        kept, at = last.unique(return_inverse=True)
        found: Tensor = model.causal(**inputs, use_cache=True, logits_to_keep=kept).logits[rows, at]
        return found


def _alone(model: AnsweringModel, slots: int) -> AloneDecoder:
    @torch.no_grad()
    def read(tokens: Sequence[int], cache: Any) -> tuple[Any, Float32]:
        # Virtual tokens stand once in front, and are in the cache from then on.
        network = model.network if cache is None else causal_of(model.network)
        ids = torch.tensor([list(tokens)], device=model.device)
        output = network(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.past_key_values, output.logits[0, -1].float().cpu().numpy()

    return AloneDecoder(slots, read)


def _parts(arrivals: Sequence[Arrival]) -> Iterator[list[int]]:
    """Places of the prompts that are read together: of about one length."""
    part: list[int] = []
    real = 0
    for at in sorted(range(len(arrivals)), key=lambda at: -len(arrivals[at].prompt)):
        length = len(arrivals[at].prompt)
        padded = (len(part) + 1) * len(arrivals[part[0]].prompt) if part else length
        if part and (padded > PREFILL_TOKENS or padded > PADDING * (real + length)):
            yield part
            part, real = [], 0
        part.append(at)
        real += length
    if part:
        yield part


def _can_batch(model: AnsweringModel) -> bool:
    """Return True if every layer keeps keys and values of all tokens, or of a window of them, and nothing else."""
    layers = DynamicCache(config=model.causal.config).layers
    plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    return plain and not model.prompted and not getattr(model.causal, "_is_stateful", False)


def _stretches(model: AnsweringModel) -> bool:
    """Return True if a long row would change how those beside it are rotated. A trial would have to be long."""
    rope = getattr(model.causal.config.get_text_config(), "rope_parameters", None) or {}
    settings = [rope, *(each for each in rope.values() if isinstance(each, dict))]
    return any(each.get("rope_type") in STRETCHED for each in settings)


@torch.no_grad()
def rows_stay_apart(model: AnsweringModel, kind: type[MixedDecoder | BatchDecoder]) -> bool:
    """Return True if rows that join, grow and leave get the logits that each gets alone: tried, not assumed."""
    draw = np.random.default_rng(0)
    vocabulary = int(model.causal.config.get_text_config().vocab_size)
    texts = {length: draw.integers(vocabulary, size=length + 3).tolist() for length in (3, 7, 11)}
    try:
        decoder = kind(model, 3)
        short, long = decoder.add([Arrival(texts[3][:3]), Arrival(texts[7][:7])])
        if decoder.reading:
            decoder.step({})
        checked = [(texts[3][:3], decoder.logits(short)), (texts[7][:7], decoder.logits(long))]
        decoder.step({short: texts[3][3], long: texts[7][7]})
        (late,) = decoder.add([Arrival(texts[11][:11])])
        decoder.remove(short)
        at = 8
        if decoder.reading:
            decoder.step({long: texts[7][at]})
            at += 1
        decoder.step({long: texts[7][at], late: texts[11][11]})
        checked += [(texts[7][: at + 1], decoder.logits(long)), (texts[11][:12], decoder.logits(late))]
    except MISFIT:
        return False
    tolerance = TOLERANCE[DTYPES[model.compute]]
    for tokens, found in checked:
        ids = torch.tensor([tokens], device=model.device)
        alone = model.causal(input_ids=ids, use_cache=False).logits[0, -1].float().cpu().numpy()
        if not np.linalg.norm(found - alone) <= tolerance * np.linalg.norm(alone):
            return False
    return True
