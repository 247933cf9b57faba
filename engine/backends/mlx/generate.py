"""Answers from an MLX model, through mlx-lm's own batched generation."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from engine.backends.sampling import RowSampler, Sampler


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    stop: Collection[int],
    poll: Callable[[], None],
    sampler: Sampler | None = None,
) -> list[list[int]]:
    """Continue all prompts simultaneously, greedily or as `sampler` draws; the end token is left out."""
    answers: list[list[int]] = [[] for _ in prompts]
    for place, token in _tokens(model, prompts, max_tokens, stop, poll, sampler):
        answers[place].append(token)
    return answers


def stream(
    model: Any,
    prompt: Sequence[int],
    max_tokens: int,
    stop: Collection[int],
    sampler: Sampler | None = None,
) -> Iterator[int]:
    """Continue one prompt, each token as it is chosen; stops before the end token."""
    for _, token in _tokens(model, [prompt], max_tokens, stop, lambda: None, sampler):
        yield token


def _tokens(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    stop: Collection[int],
    poll: Callable[[], None],
    sampler: Sampler | None,
) -> Iterator[tuple[int, int]]:
    """The place of a prompt and the next token of its answer, as they come."""
    from mlx_lm.generate import BatchGenerator

    generator = BatchGenerator(
        model, max_tokens=max_tokens, stop_tokens=[[token] for token in stop],
        completion_batch_size=len(prompts), prefill_batch_size=len(prompts),
    )  # fmt: skip
    rows = sampler.samplers(prompts) if sampler else []
    draws = [[] if row.greedy else [_draw(row)] for row in rows] or None
    try:
        uids = generator.insert([list(prompt) for prompt in prompts], logits_processors=draws)
        places = {uid: place for place, uid in enumerate(uids)}
        waiting = len(places)
        while waiting:
            poll()
            for response in generator.next_generated():
                if response.token not in stop:
                    yield places[response.uid], response.token
                waiting -= response.finish_reason is not None
    finally:
        generator.close()


def _draw(row: RowSampler) -> Callable[[mx.array, mx.array], mx.array]:
    """Processor of logits, `[1, vocabulary]`, whose largest is then the token chosen.

    It takes the place of mlx-lm's samplers, which get log-probabilities: the repetition penalty is for logits.
    """

    def draw(tokens: mx.array, logits: mx.array) -> mx.array:
        chosen = row.choose(np.array(logits[0].astype(mx.float32)))
        return mx.where(mx.arange(logits.shape[-1]) == chosen, 0.0, -mx.inf)[None]

    return draw
