"""Unsloth comes in before torch and transformers, as in the engine process."""

import engine.backends.unsloth.backend  # noqa: F401
