"""Lint of training data: rows that teach nothing, or the wrong thing."""
