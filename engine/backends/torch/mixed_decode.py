"""Continuous batching in one pass over answers that grow and prompts that are read. See `base.Decoder`.

A pass costs little more for a prompt beside the answers than for them alone, since the weights are read once for both
(Orca, Yu et al. 2022; chunks: Sarathi-Serve, Agrawal et al. 2024, arXiv:2403.02310).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from engine.backends.base import Arrival
from engine.backends.torch.answering_layers import AnsweringLayer, attended
from engine.backends.torch.answering_model import AnsweringModel
from engine.backends.torch.decode_cache import RowCache
from engine.backends.torch.decode_rows import Rows
from engine.backends.torch.prefixes import Prefixes
from engine.data.types import Float32

BESIDE_TOKENS = 256
"""Most tokens of prompts that are read in a step beside answers, so that these do not stand still."""
ALONE_TOKENS = 2048
"""Most that are read where no answer grows."""
PREFIX_PART = 8
"""Keys and values of prompts are kept up to one part in so many of the layers' weights."""


@dataclass
class Reading:
    """A prompt that is being read: its keys and values so far, and the number of tokens that they are of."""

    key: int
    prompt: Sequence[int]
    cache: DynamicCache
    read: int

    @property
    def done(self) -> bool:
        """True once all of it is read."""
        return self.read == len(self.prompt)


@dataclass(frozen=True)
class Chunk:
    """Tokens `start` to `end` of a prompt."""

    reading: Reading
    start: int
    end: int

    @property
    def size(self) -> int:
        """Tokens."""
        return self.end - self.start

    def mask(self, device: torch.device) -> Tensor | None:
        """What its tokens attend to, `[1, 1, size, end]`; None where causality says it."""
        if self.start == 0 or self.size == 1:
            return None
        return torch.ones(self.size, self.end, dtype=torch.bool, device=device).tril(self.start)[None, None]


class MixedDecoder:
    """Rows and prompts in one pass, for layers in their form for answers that attend to all that was before."""

    def __init__(self, model: AnsweringModel, slots: int) -> None:
        self.model, self.slots, self.cache = model, slots, RowCache(slots)
        self._forms = forms_of(model)
        self._rows = Rows()
        self._reading: list[Reading] = []
        weights = sum(form.nbytes for form in self._forms)
        self.prefixes = Prefixes(weights // PREFIX_PART)

    @property
    def rows(self) -> list[int]:
        return [*self._rows.keys, *self.reading]

    @property
    def reading(self) -> list[int]:
        return [one.key for one in self._reading]

    def add(self, arrivals: Sequence[Arrival]) -> list[int]:
        assert len(self.rows) + len(arrivals) <= self.slots, "no slot is free"
        keys = self._rows.new_keys(len(arrivals))
        for key, one in zip(keys, arrivals, strict=True):
            self._reading.append(Reading(key, one.prompt, *self.prefixes.beginning(one.prompt)))
        return keys

    def logits(self, row: int) -> Float32:
        return self._rows.logits_of(row)

    def likeliest(self) -> dict[int, int]:
        return self._rows.likeliest()

    @torch.no_grad()
    def step(self, tokens: Mapping[int, int]) -> None:
        keys, chunks, device = self._rows.keys, self._chunks(), self.model.device
        ids = [tokens[key] for key in keys]
        places = [*self.cache.lengths]
        mask = self._mask(self.cache.advance()[0]) if keys else None
        for chunk in chunks:
            ids += chunk.reading.prompt[chunk.start : chunk.end]
            places += range(chunk.start, chunk.end)
        masks = [chunk.mask(device) for chunk in chunks]

        def attend(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            found, at = [], len(keys)
            if keys:
                row_q, row_k, row_v = (part[:at].unsqueeze(2) for part in (q, k, v))
                found.append(attended(attention, row_q, row_k, row_v, self.cache, mask).squeeze(1))
            for chunk, own in zip(chunks, masks, strict=True):
                end = at + chunk.size
                own_q, own_k, own_v = (part[at:end].transpose(0, 1)[None] for part in (q, k, v))
                found.append(attended(attention, own_q, own_k, own_v, chunk.reading.cache, own).squeeze(0))
                at = end
            return torch.cat(found) if len(found) > 1 else found[0]

        hidden = self._pass(torch.tensor(ids, device=device), torch.tensor(places, device=device), attend)
        self._take_in(hidden, chunks)

    def remove(self, row: int) -> None:
        if row in self._rows.keys:
            self.cache.leave(self._rows.remove(row))
        else:
            self._reading = [one for one in self._reading if one.key != row]

    def _chunks(self) -> list[Chunk]:
        """The parts of prompts that are read now, in the order in which they came."""
        room = BESIDE_TOKENS if self._rows.keys else ALONE_TOKENS
        found = []
        for one in self._reading:
            size = min(room, len(one.prompt) - one.read)
            if not size:
                break
            found.append(Chunk(one, one.read, one.read + size))
            room -= size
        return found

    def _mask(self, present: Tensor) -> Tensor:
        """What is added to the scores of each row's columns, `[rows, 1, 1, columns]`: made once, not in every layer."""
        mask = torch.zeros(present.shape, dtype=self.model.causal.dtype, device=present.device)
        return mask.masked_fill_(~present, -torch.inf)[:, None, None]

    def _pass(self, ids: Tensor, places: Tensor, attend: Any) -> Tensor:
        """The last layer's output for tokens `[n]` at these places of their rows, `[n, width]`, before the norm."""
        body = self.model.body
        x = body.embed_tokens(ids)
        cos, sin = body.rotary_emb(x[None], places[None])
        turns = cos[0], sin[0]
        for form in self._forms:
            x = form(x, turns, partial(attend, form.attention))
        return x

    def _take_in(self, hidden: Tensor, chunks: Sequence[Chunk]) -> None:
        """Logits of what follows each row, and each prompt that is now read, which becomes a row."""
        rows, at = len(self._rows.keys), len(self._rows.keys)
        last = [*range(rows)]
        for chunk in chunks:
            at += chunk.size
            chunk.reading.read = chunk.end
            if chunk.reading.done:
                last.append(at - 1)
        done = [one for one in self._reading if one.done]
        self._reading = [one for one in self._reading if not one.done]
        for one in done:
            self.cache.join(one.cache, [len(one.prompt)])
            self.prefixes.keep(one.prompt, one.cache)
        if last:
            ends = hidden if len(last) == len(hidden) else hidden[torch.tensor(last, device=hidden.device)]
            logits = self.model.causal.get_output_embeddings()(self.model.body.norm(ends))
            self._rows.take([one.key for one in done], logits)


def forms_of(model: AnsweringModel) -> list[AnsweringLayer]:
    """The layers of a model whose answers a `MixedDecoder` may try; empty for others."""
    form, body = model.answering_form, model.body
    plain = model.row_adapters is None and model.plain_head and not model.prompted
    if not plain or form is None or form.layers is None or len(form.layers.forms) != len(body.layers):
        return []
    parts = all(hasattr(body, name) for name in ("embed_tokens", "rotary_emb", "norm"))
    windows = any(type(layer).is_sliding for layer in DynamicCache(config=model.causal.config).layers)
    return [] if windows or not parts else form.layers.forms
