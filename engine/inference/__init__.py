"""Inference: answers from a model folder, with or without an adapter."""
