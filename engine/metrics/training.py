"""Metrics of a training step, and those that a training method's objective reports."""

from engine.metrics.base import Metric

METRICS = (
    Metric("loss", format="nats", better="lower"),
    Metric("cross_entropy", "cross-entropy", format="nats", better="lower"),
    Metric("lr", "learning rate", format="scientific"),
    Metric("grad_norm", "gradient norm", format="decimal"),
    Metric("tokens_per_s", "speed", format="count", unit="tokens/s", better="higher"),
)

PREFERENCE = (
    Metric("preference_accuracy", "preference accuracy", format="percent", better="higher"),
    Metric("reward_margin", "reward margin", format="nats", better="higher"),
    Metric("chosen_reward", "reward of chosen answers", format="nats", better="higher"),
    Metric("rejected_reward", "reward of rejected answers", format="nats", better="lower"),
    Metric("chosen_loss", "loss on chosen answers", format="nats", better="lower"),
    Metric("kl", "divergence from the reference", format="nats"),
)
"""Metrics of methods that compare answers. A reward is what a method makes of an answer's log-probability: beta times
its gain on the reference, or beta times its mean a token where there is none."""
