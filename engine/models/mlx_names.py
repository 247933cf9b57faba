"""Names of modules and weights in mlx-lm's models, where they differ from transformers'."""

TRANSFORMERS_PREFIX = {"gpt2": "transformer."}
"""Prefix of weight names in transformers 5 where mlx-lm expects the bare names of the first checkpoints."""
PATHS = {
    "gpt2": ("model.", "transformer."),
    "gemma3": ("language_model.model.", "model.language_model."),
}
"""Beginnings of module paths in mlx-lm and in transformers 5, where they differ."""


def transformers_name(kind: str, path: str) -> str:
    """The name in transformers' model of a module or weight of mlx-lm's; `kind` is config.json's `model_type`."""
    own, theirs = PATHS.get(kind, ("", ""))
    return theirs + path.removeprefix(own) if path.startswith(own) else path


def mlx_name(kind: str, path: str) -> str:
    """The opposite of `transformers_name`."""
    own, theirs = PATHS.get(kind, ("", ""))
    return own + path.removeprefix(theirs) if path.startswith(theirs) else path
