"""Answers from a transformers model: a whole batch, or one prompt token by token."""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.backends.sampling import RowSampler, Sampler
from engine.backends.torch.model import causal_of


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    stop: Collection[int],
    poll: Callable[[], None],
    sampler: Sampler | None = None,
) -> list[list[int]]:
    """Continue all prompts together, greedily or as `sampler` draws, padded on the left; the end token is left out."""
    pad = min(stop, default=0)
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)

    def polled(tokens: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        poll()
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

    # The prompt's last positions are a slice, for which torch would copy the head's weights once for each row.
    head = causal_of(model).get_output_embeddings()
    with head.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),)):
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            pad_token_id=pad,
            eos_token_id=sorted(stop),
            stopping_criteria=[polled],
            logits_processor=[Draw(sampler.samplers(prompts))] if sampler else None,
        )
    return [
        list(itertools.takewhile(lambda token: token not in stop, row)) for row in output[:, width:].tolist()
    ]


class Draw:
    """Turns greedy choice into that of each row's sampler: a processor of logits for transformers."""

    def __init__(self, rows: Sequence[RowSampler]) -> None:
        self.rows = {place: row for place, row in enumerate(rows) if not row.greedy}

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """Scores `[rows, vocabulary]` whose largest is the token chosen; those of greedy rows are as they were."""
        places = list(self.rows)
        logits = scores[places].float().cpu().numpy()
        chosen = [row.choose(own) for row, own in zip(self.rows.values(), logits, strict=True)]
        scores = scores.clone()
        scores[places] = -torch.inf
        scores[places, chosen] = 0
        return scores


def continued(
    model: Any,
    prompt: Sequence[int],
    max_tokens: int,
    stop: Collection[int],
    poll: Callable[[], None],
    sampler: Sampler | None = None,
) -> list[int]:
    """Continue one prompt."""
    tokens: list[int] = []
    poll()
    for token in stream(model, prompt, max_tokens, stop, sampler):
        tokens.append(token)
        poll()
    return tokens


@torch.no_grad()
def stream(
    model: Any,
    prompt: Sequence[int],
    max_tokens: int,
    stop: Collection[int],
    sampler: Sampler | None = None,
) -> Iterator[int]:
    """Continue one prompt, greedily or as `sampler` draws, yielding each token as it is chosen; stops before the end
    token."""
    (row,) = sampler.samplers([prompt]) if sampler else (None,)
    step, cache = torch.tensor([list(prompt)], device=model.device), None
    for _ in range(max_tokens):
        output = model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        model = causal_of(model)  # virtual tokens stand once in front, and are in the cache from then on
        scores = output.logits[0, -1]
        token = row.choose(scores.float().cpu().numpy()) if row else int(scores.argmax())
        if token in stop:
            return
        yield token
        step, cache = torch.tensor([[token]], device=model.device), output.past_key_values
