"""Agreement of two models' distributions of the next token."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.parity.exported import LIKELIEST, NO_TOKEN, Distributions

LEAD = 0.1
"""Nats by which a likeliest token leads where it is decided."""
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Agreement of an export with the model that was trained, over `positions` places.

    `top1` is the share of places at which both have the same likeliest token, `top1_decided` the same over the
    `decided` places at which the trained model's likeliest token leads by `LEAD`; near a tie, any rounding decides.
    `kl_mean` and `kl_max` are the Kullback-Leibler divergence KL(trained ‖ exported) in nats. `top_n` is None where it
    is over the whole vocabulary; else it is over the union of both models' n likeliest tokens, and one class for all
    others, which is at most the full one (the data-processing inequality: Cover and Thomas, Elements of Information
    Theory, 2.8).
    """

    positions: int
    top1: float
    decided: int
    top1_decided: float
    kl_mean: float
    kl_max: float
    top_n: int | None = None


def agreement(reference: Distributions, exported: Distributions) -> Agreement:
    """Compare an export with the reference, which is over the whole vocabulary. Both have the same places."""
    kl = divergences(reference, exported)
    same = reference.top == exported.top
    first, second = -np.partition(-reference.logps, 1, axis=1)[:, :2].T
    decided = first - second >= LEAD
    return Agreement(
        positions=len(kl),
        top1=float(same.mean()),
        decided=int(decided.sum()),
        top1_decided=float(same[decided].mean()) if decided.any() else 1.0,
        kl_mean=float(kl.mean()),
        kl_max=float(kl.max()),
        top_n=LIKELIEST if exported.ids is not None and reference.logps.shape[1] > LIKELIEST else None,
    )


def divergences(reference: Distributions, exported: Distributions) -> Float64:
    """KL(reference ‖ exported) in nats at each place, `[n]`."""
    assert reference.ids is None
    p, q = reference.logps.astype(np.float64), exported.logps.astype(np.float64)
    if exported.ids is not None:
        there = exported.ids != NO_TOKEN
        p = np.take_along_axis(p, np.where(there, exported.ids, 0).astype(np.int64), axis=1)
        p, q = with_rest(np.where(there, p, -np.inf)), with_rest(q)
    elif p.shape != q.shape:  # a vocabulary that one of them has padded: tokens that no row has
        width = min(p.shape[1], q.shape[1])
        p, q = (_normalised(each[:, :width]) for each in (p, q))
    # A probability of 0 adds nothing, whatever the other one is.
    with np.errstate(invalid="ignore"):
        terms = np.where(np.isneginf(p), 0.0, np.exp(p) * (p - np.maximum(q, SMALLEST)))
    found: Float64 = np.maximum(terms.sum(axis=1), 0.0)
    return found


SMALLEST = np.log(1e-12)
"""Least log-probability of an export's token, so that one of 0 makes the divergence large and not infinite."""


def with_rest(logps: Float64) -> Float64:
    """Log-probabilities `[n, k]` of some tokens, and of all others together in one more column."""
    rest = np.maximum(1.0 - np.exp(logps).sum(axis=1, keepdims=True), 0.0)
    with np.errstate(divide="ignore"):
        return np.concatenate([logps, np.log(rest)], axis=1)


def _normalised(logps: Float64) -> Float64:
    found: Float64 = logps - np.log(np.exp(logps).sum(axis=1, keepdims=True))
    return found
