"""Names of modules and weights in mlx-lm's models, where they differ from transformers'."""

TRANSFORMERS_PREFIX = {"gpt2": "transformer."}
"""What transformers 5 puts before a weight's name where mlx-lm expects the bare name of the first checkpoints."""
PATHS = {
    "gpt2": ("model.", "transformer."),
    "gemma3": ("language_model.model.", "model.language_model."),
}
"""How the path of a module begins in mlx-lm and in transformers 5, where they differ."""


def transformers_name(kind: str, path: str) -> str:
    """The name in transformers' model of a module or weight of mlx-lm's; `kind` is config.json's `model_type`."""
    own, theirs = PATHS.get(kind, ("", ""))
    return theirs + path.removeprefix(own) if path.startswith(own) else path


def mlx_name(kind: str, path: str) -> str:
    """The opposite of `transformers_name`."""
    own, theirs = PATHS.get(kind, ("", ""))
    return own + path.removeprefix(theirs) if path.startswith(theirs) else path
