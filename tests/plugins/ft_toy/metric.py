"""A metric of evaluations: the log-probability of the token that the model finds least likely."""

from engine.metrics.base import Metric, Results


def worst_token(results: Results) -> float:
    assert results.log_probabilities is not None
    return min(results.log_probabilities)


WORST_TOKEN = Metric(
    "worst_token",
    "least likely token",
    format="nats",
    better="higher",
    needs=frozenset({"log_probabilities"}),
    compute=worst_token,
)
