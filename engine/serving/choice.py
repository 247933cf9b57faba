"""The choice of an answer's tokens: penalties, biases and grammar before the sampler, log-probabilities beside it."""

from collections import Counter
from typing import Protocol

import numpy as np

from engine.backends.sampling import RowSampler
from engine.data.types import Float32
from engine.serving.request import Asked, Chosen


class Constraint(Protocol):
    """What holds an answer to a grammar."""

    def allowed(self, logits: Float32) -> Float32:
        """The logits, -inf where a token may not come next."""
        ...

    def take(self, token: int) -> None:
        """Go on by a token that was allowed."""
        ...


class Choice:
    """Chooses the tokens of one answer."""

    def __init__(self, asked: Asked, constraint: Constraint | None = None) -> None:
        self.asked, self._constraint = asked, constraint
        self._sampler = RowSampler(asked.sampling, asked.prompt)
        self._counts: Counter[int] = Counter()
        penal = asked.presence or asked.frequency
        self._penal = bool(penal)
        told = asked.top_logprobs is not None
        self.likeliest = self._sampler.greedy and not (penal or asked.bias or told or constraint)
        """True if the likeliest token is always the one, so that logits need not be looked at."""

    def choose(self, logits: Float32) -> Chosen:
        """The next token by its logits, `[vocabulary]`. Raises ModelError where they are no numbers."""
        changed = self._changed(logits)
        token = self._sampler.choose(changed)
        if self._penal:
            self._counts[token] += 1
        if self._constraint is not None:
            self._constraint.take(token)
        return self._told(token, logits)

    def _changed(self, logits: Float32) -> Float32:
        asked = self.asked
        if self._counts or asked.bias:
            logits = logits.copy()
            for token, count in self._counts.items():
                logits[token] -= asked.presence + asked.frequency * count
            for token, bias in asked.bias.items():
                logits[token] += bias
        return logits if self._constraint is None else self._constraint.allowed(logits)

    def _told(self, token: int, logits: Float32) -> Chosen:
        """The token with log-probabilities of the model itself: before penalties and temperature."""
        most = self.asked.top_logprobs
        if most is None:
            return Chosen(token, 0.0)
        shifted = logits - logits.max()
        logps = shifted - np.log(np.exp(shifted, dtype=np.float64).sum())
        top = np.argpartition(-logps, most)[:most] if most else np.empty(0, np.intp)
        top = top[np.argsort(-logps[top], kind="stable")]
        return Chosen(token, float(logps[token]), tuple((int(one), float(logps[one])) for one in top))
