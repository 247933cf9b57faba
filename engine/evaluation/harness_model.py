"""A loaded model as lm-evaluation-harness asks it. Imports lm-eval, so it is imported where a task is scored alone."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from engine.backends.base import Model
from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import ConfigError
from engine.evaluation.measuring import Measuring
from engine.evaluation.scores import ANSWER_ROWS, greedy, within_memory

MOST_TOKENS = 256
"""Most tokens of an answer where a task names none, as in lm-eval's own models."""
POSITIONS = 2048
"""Tokens of a text and its context where the model sets no bound."""


class Harness(TemplateLM):  # type: ignore[misc]  # lm-eval is read as untyped
    """The model as lm-eval asks it: log-likelihoods by `Model.logps`, greedy answers many at a time."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, measuring: Measuring, positions: int | None
    ) -> None:
        """`positions` is the most tokens of a text with its context."""
        super().__init__()
        self._model, self._tokenizer, self._measuring = model, tokenizer, measuring
        self._bound = positions or POSITIONS
        self.failure: Exception | None = None
        """What went wrong as the model answered: an error of ours, a stop, or a lack of memory."""

    @property
    def eot_token_id(self) -> int:
        return self._tokenizer.eos_id

    @property
    def prefix_token_id(self) -> int:
        return self._tokenizer.prefix_ids[0] if self._tokenizer.prefix_ids else self._tokenizer.eos_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        ids = self._tokenizer.encode([string], special=add_special_tokens is not False)[0]
        prefix = self._tokenizer.prefix_ids
        doubled = prefix and ids[: 2 * len(prefix)] == [*prefix, *prefix]  # the text had it already
        return ids[len(prefix) :] if doubled else ids

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        pairs = [_within(context, said, self._bound) for _, context, said in requests]
        with self._ours():
            sums = self._measuring.answers_logps(self._model, pairs)
            likeliest = _likeliest(self._model, pairs, self._measuring)
        return [
            (total, likeliest[tuple(context)][: len(said)] == said)
            for total, (context, said) in zip(sums, pairs, strict=True)
        ]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        texts = [self.tok_encode(request.args[0], add_special_tokens=False) for request in requests]
        windows = [
            [
                *map(
                    make_disjoint_window,
                    get_rolling_token_windows(ids, self.prefix_token_id, self._bound - 1, 1),
                )
            ]
            for ids in texts
        ]
        with self._ours():
            return [sum(self._measuring.answers_logps(self._model, each)) for each in windows]

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        with self._ours():
            asked = [_generation(request, self._prompt, self._bound) for request in requests]
            answers = _greedy(self._model, asked, self._tokenizer.stop_ids, self._measuring)
        return [
            _until(self._tokenizer.decode(answer), request.args[1].get("until") or [])
            for answer, request in zip(answers, requests, strict=True)
        ]

    def _prompt(self, text: str) -> list[int]:
        return self.tok_encode(text) or [self.prefix_token_id]

    @contextmanager
    def _ours(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failure = error
            raise


def _within(context: Sequence[int], said: Sequence[int], bound: int) -> tuple[list[int], list[int]]:
    """Context and answer within the model's positions; the beginning of a long context is left out."""
    said = list(said)[-(bound - 1) :]
    return list(context)[-(bound - len(said)) :], said


def _generation(request: Any, encode: Callable[[str], list[int]], bound: int) -> tuple[list[int], int]:
    """Prompt of a request and most tokens of its answer. Raises ConfigError where the answer is to be drawn."""
    context, settings = request.args
    if settings.get("do_sample") or float(settings.get("temperature") or 0) > 0:
        raise ConfigError(
            f"The task {request.task_name} draws its answers, and ft scores greedy ones.",
            "Set do_sample: false in its generation_kwargs.",
        )
    most = min(int(settings.get("max_gen_toks", MOST_TOKENS)), bound - 1)
    return encode(context)[-(bound - most) :], most


def _likeliest(
    model: Model, pairs: Sequence[tuple[list[int], list[int]]], measuring: Measuring
) -> Mapping[tuple[int, ...], list[int]]:
    """What the model itself would say after each context, as far as the longest answer to it that is scored."""
    longest: dict[tuple[int, ...], int] = {}
    for context, said in pairs:
        longest[tuple(context)] = max(longest.get(tuple(context), 1), len(said))
    answers = _greedy(model, list(longest.items()), frozenset(), measuring)
    return dict(zip(longest, answers, strict=True))


def _greedy(
    model: Model,
    asked: Sequence[tuple[Sequence[int], int]],
    stop: Collection[int],
    measuring: Measuring,
) -> list[list[int]]:
    """The answer to each prompt, of at most so many tokens, in their order; many are written together."""
    prompts, most = [prompt for prompt, _ in asked], [tokens for _, tokens in asked]
    answers, _ = within_memory(
        lambda rows: greedy(model, prompts, most, stop, rows, measuring.poll, measuring.check),
        ANSWER_ROWS,
        measuring.smaller,
    )
    return answers


def _until(text: str, stops: Sequence[str] | str) -> str:
    for stop in [stops] if isinstance(stops, str) else stops:
        if stop:
            text = text.split(stop)[0]
    return text
