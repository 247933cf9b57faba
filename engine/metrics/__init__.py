"""Metrics that training steps and evaluations report: units, direction, and how evaluations compute theirs."""
