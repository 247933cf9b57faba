"""Unsloth comes in before torch and transformers, as in the engine process."""

import engine.backends.unsloth.causal_lm  # noqa: F401
