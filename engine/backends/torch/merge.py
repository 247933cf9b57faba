"""Layers of a base with an adapter in them, by PEFT's own merge: for the types whose update only PEFT knows."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from engine.backends.torch.loading import load_adapter, load_causal
from engine.backends.torch.vocabulary import grow
from engine.data.tokenization.new_tokens import NewToken
from engine.errors import FtError, ModelError, first_line
from engine.hardware.memory import is_exhaustion
from engine.models.tensors import Float32


@torch.no_grad()
def merged_layers(folder: Path, adapter: Path, tokens: Sequence[NewToken]) -> dict[str, dict[str, Float32]]:
    """Weight and bias of every layer that the adapter changes, in fp32, by its path in transformers' model.

    The whole base is in memory meanwhile. Raises ModelError where it does not load, or PEFT does not merge this type.
    """
    model = load_causal(folder, dtype=torch.float32, device="cpu", trust_remote_code=False)
    grow(model, tokens)
    model = load_adapter(model, adapter)
    inner = model.get_base_model()
    paths = [path for path, module in inner.named_modules() if isinstance(module, BaseTunerLayer)]
    try:
        merged = model.merge_and_unload(safe_merge=True)
    except Exception as error:  # PEFT's types refuse in their own ways
        if is_exhaustion(error) or isinstance(error, FtError):
            raise
        raise ModelError(
            f"{adapter}: PEFT does not merge this adapter: {first_line(error)}",
            "Use it beside its base: ft generate, ft serve, ft export --format adapter.",
        ) from error
    layers = dict(merged.named_modules())
    return {
        path: {name: value.detach().numpy() for name, value in layers[path].named_parameters(recurse=False)}
        for path in paths
        if path in layers
    }
