"""Names of a layer's tensors in a model's files, from the layer's path in transformers' model, which adapters name."""

from collections.abc import Collection, Iterator

SWAPS = (
    ("model.language_model.", "language_model.model."),  # of a model that sees, before transformers 5
    ("model.language_model.", "model."),
    ("model.", ""),
    ("transformer.", ""),  # GPT-2 as it was first published
    ("", "model."),
    ("", "transformer."),
    ("lm_head", "language_model.lm_head"),
)
"""Beginnings of paths in the loaded model, and in files."""
MIXTURES = ((".mlp.", ".block_sparse_moe."), (".mlp.shared_experts.", ".mlp.shared_expert."))
"""Parts of paths that mixtures of experts have otherwise in their files."""


def spellings(path: str) -> Iterator[str]:
    """Paths under which a file may hold the layer at `path`, the likeliest first."""
    starts = [path, *(there + path.removeprefix(here) for here, there in SWAPS if path.startswith(here))]
    for found in starts:
        yield found
        yield from (found.replace(here, there) for here, there in MIXTURES if here in found)


def stored_name(path: str, part: str, names: Collection[str]) -> str | None:
    """The one of `names` that is the tensor `part` (as `weight`) of the layer at `path`; None where there is none."""
    return next((name for found in spellings(path) if (name := f"{found}.{part}") in names), None)
