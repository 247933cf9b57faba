"""Answers from an MLX model, through mlx-lm's own batched generation."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import mlx.core as mx

from engine.backends.sampling import MIN_P, Noise, Sampler


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
    draws = None if sampler is None else [_draw(sampler.temperature, noise) for noise in sampler.noises()]
    try:
        uids = generator.insert([list(prompt) for prompt in prompts], samplers=draws)
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


def _draw(temperature: float, noise: Noise) -> Callable[[mx.array], mx.array]:
    """Log-probabilities `[1, vocabulary]` to the token that is drawn, `[1]`."""

    def draw(logps: mx.array) -> mx.array:
        scores = logps.astype(mx.float32) / temperature
        unlikely = scores < scores.max(-1, keepdims=True) + math.log(MIN_P)
        drawn = scores + mx.array(noise.draw(scores.shape[-1]))
        return mx.argmax(mx.where(unlikely, -mx.inf, drawn), -1)

    return draw
