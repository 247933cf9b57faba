"""Metrics of an evaluation: each module here is one, named as its file; `METRIC` describes and computes it."""
