"""Names of modules and weights in mlx-lm's models, where they differ from transformers'."""

TRANSFORMERS_PREFIX = {"gpt2": "transformer."}
"""What transformers 5 puts before a weight's name where mlx-lm expects the bare name of the first checkpoints."""


def transformers_name(kind: str, path: str) -> str:
    """The name in transformers' model of a module or weight of mlx-lm's; `kind` is config.json's `model_type`."""
    prefix = TRANSFORMERS_PREFIX.get(kind)
    return path.replace("model.", prefix, 1) if prefix else path


def mlx_name(kind: str, path: str) -> str:
    """The opposite of `transformers_name`."""
    prefix = TRANSFORMERS_PREFIX.get(kind)
    return path.replace(prefix, "model.", 1) if prefix and path.startswith(prefix) else path
