"""Serving: an OpenAI-compatible server over trained models."""
