"""Refusals that planning and loading have in common, without anything heavy."""

from collections.abc import Sequence

from engine.errors import ConfigError


def experts_refused(names: Sequence[str]) -> ConfigError:
    """The error where a recipe for MLX names a mixture's experts."""
    return ConfigError(
        f"adapter.target_modules: {', '.join(names)} are a mixture's experts, which ft does not train with MLX",
        "Use backend: peft, or leave them out.",
    )
