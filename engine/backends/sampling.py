"""The sampler of every backend: one choice of tokens on the host, so that a seed gives the same answer on all of them.

    logits → repetition penalty → temperature → top-k → top-p → min-p → Gumbel-max draw

Each row of a batch has its own settings and noise, so its answer depends neither on its neighbours nor on whether it is
streamed, batched or served.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engine.data.types import Float32, Sampling
from engine.errors import ModelError

COLDEST = 1e-5
"""Temperature below which the likeliest token is taken: divided by less, logits overflow."""


def refuse_no_numbers(finite: bool) -> None:
    """Raise ModelError where the largest logit of a row is not `finite`: any token would look likeliest."""
    if not finite:
        raise ModelError(
            "The model's output is not a number, so no token can be chosen.",
            "Weights that hold NaN or inf answer so, and fp16 where a model needs bf16 or fp32.",
        )


def likeliest_of(logits: Float32) -> int:
    """The token of the largest logit, `[vocabulary]`. Raises ModelError where that is no number."""
    token = int(logits.argmax())
    refuse_no_numbers(math.isfinite(logits[token]))
    return token


class Noise:
    """Gumbel noise for the tokens of one answer, drawn on the host, so that it is the same for every device."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def draw(self, vocabulary: int, kept: npt.NDArray[np.intp] | slice = slice(None)) -> Float32:
        """Noise for the next token, `[vocabulary]`, or of the ids `kept` alone; either way the same for an id."""
        uniform = self._random.random(vocabulary, dtype=np.float32)[kept]
        noise: Float32 = -np.log(-np.log(np.maximum(uniform, np.finfo(np.float32).tiny)))
        return noise


class RowSampler:
    """Chooses the tokens of one answer, one after the other.

    The largest of logit / temperature + Gumbel noise is a draw from the softmax (Gumbel 1954; "the Gumbel-max trick").
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int] = ()) -> None:
        """`prompt` are the tokens before the answer, which the repetition penalty counts as seen."""
        self.sampling = sampling
        self._noise = Noise(sampling.seed)
        self._seen = {*prompt} if sampling.repetition_penalty != 1 else None

    @property
    def greedy(self) -> bool:
        """True if the token of the largest logit is the answer, so that logits need not come to the host."""
        return self._cold and self._seen is None

    @property
    def _cold(self) -> bool:
        return self.sampling.temperature < COLDEST

    def choose(self, logits: Float32) -> int:
        """The next token by its logits, `[vocabulary]`, which are left as they are. An id of -inf is never chosen.

        Raises ModelError where no logit is a finite number, or one is NaN or inf.
        """
        refuse_no_numbers(math.isfinite(logits.max()))
        scores = (
            logits if self._seen is None else penalised(logits, self._seen, self.sampling.repetition_penalty)
        )
        token = int(scores.argmax()) if self._cold else self._drawn(scores)
        if self._seen is not None:
            self._seen.add(token)
        return token

    def _drawn(self, scores: Float32) -> int:
        scores = scores / np.float32(self.sampling.temperature)
        kept = support(scores, self.sampling)
        return int(kept[(scores[kept] + self._noise.draw(len(scores), kept)).argmax()])


@dataclass(frozen=True)
class Sampler:
    """Settings of each row of a batch."""

    rows: tuple[Sampling, ...]

    @classmethod
    def seeded(cls, sampling: Sampling, seeds: Iterable[int]) -> "Sampler | None":
        """The same settings for every row, with a seed for each; None where all rows are plainly greedy."""
        rows = tuple(replace(sampling, seed=seed) for seed in seeds)
        return None if all(RowSampler(row).greedy for row in rows) else cls(rows)

    def apart(self) -> "list[Sampler]":
        """A sampler for each row alone."""
        return [Sampler((row,)) for row in self.rows]

    def samplers(self, prompts: Sequence[Sequence[int]]) -> list[RowSampler]:
        """What chooses the tokens of each row, from the start of its answer."""
        return [RowSampler(row, prompt) for row, prompt in zip(self.rows, prompts, strict=True)]


def penalised(logits: Float32, seen: Iterable[int], penalty: float) -> Float32:
    """Logits with those of the tokens `seen` divided by the penalty where they are positive, else multiplied with it
    (arXiv:1909.05858; the paper divides negative ones too, which would make them likelier)."""
    ids, by = np.fromiter(seen, dtype=np.intp), np.float32(penalty)
    scores = logits.copy()
    scores[ids] = np.where(scores[ids] < 0, scores[ids] * by, scores[ids] / by)
    return scores


def support(scores: Float32, sampling: Sampling) -> npt.NDArray[np.intp]:
    """Ids that are drawn from, ascending: those of top-k, then of top-p among them, then of min-p.

    `scores` `[vocabulary]` are logits by temperature. All that are as likely as the k-th likeliest are in top-k. Top-p
    is the smallest set of likeliest tokens that have at least that share together (arXiv:1904.09751); of two as likely,
    the lower id comes first.
    """
    top = scores.max()
    floor = np.float32(-np.inf)
    if 0 < sampling.top_k < len(scores):
        floor = np.partition(scores, -sampling.top_k)[-sampling.top_k]
    if sampling.top_p >= 1:
        return np.flatnonzero(scores >= max(floor, _likely(top, sampling)))
    ids = np.flatnonzero(scores >= floor)
    share = sampling.top_p * np.exp(scores[ids].astype(np.float64) - float(top)).sum()
    # Min-p cuts the same order from the same end, so less has to be sorted.
    ids = ids[scores[ids] >= _likely(top, sampling)]
    ranked = np.sort(scores[ids])[::-1]  # values alone: sorting ids by them takes ten times as long
    weights = np.exp(ranked.astype(np.float64) - float(top))
    count = max(1, int(np.count_nonzero(np.cumsum(weights) - weights < share)))
    last = ranked[count - 1]
    likelier, as_likely = ids[scores[ids] > last], ids[scores[ids] == last]
    return np.sort(np.concatenate([likelier, as_likely[: count - len(likelier)]]))


def _likely(top: np.float32, sampling: Sampling) -> np.float32:
    """The score below which min-p leaves a token out (arXiv:2407.01082)."""
    return np.float32(top + math.log(sampling.min_p)) if sampling.min_p > 0 else np.float32(-np.inf)
