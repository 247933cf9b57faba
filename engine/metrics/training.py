"""Metrics of a training step."""

from engine.metrics.base import Metric

METRICS = (
    Metric("loss", format="nats", better="lower"),
    Metric("lr", "learning rate", format="scientific"),
    Metric("grad_norm", "gradient norm", format="decimal"),
    Metric("tokens_per_s", "speed", format="count", unit="tokens/s", better="higher"),
)
