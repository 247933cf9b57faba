"""Answers from an MLX model, through mlx-lm's own batched generation."""

from collections.abc import Callable, Collection, Sequence
from typing import Any


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    stop: Collection[int],
    poll: Callable[[], None],
) -> list[list[int]]:
    """Continue all prompts greedily at once; the end token is left out."""
    from mlx_lm.generate import BatchGenerator

    generator = BatchGenerator(
        model, max_tokens=max_tokens, stop_tokens=[[token] for token in stop],
        completion_batch_size=len(prompts), prefill_batch_size=len(prompts),
    )  # fmt: skip
    try:
        answers: dict[int, list[int]] = {uid: [] for uid in generator.insert([list(p) for p in prompts])}
        waiting = len(answers)
        while waiting:
            poll()
            for response in generator.next_generated():
                if response.token not in stop:
                    answers[response.uid].append(response.token)
                waiting -= response.finish_reason is not None
        return list(answers.values())
    finally:
        generator.close()
