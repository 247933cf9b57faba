"""Pickled weights as safetensors, in a process of its own: `python -m engine.backends.torch.unpickle FOLDER`.

torch reads them with `weights_only`, which builds tensors and plain containers and calls nothing else that a pickle
names. What it refuses ends this process with `REFUSED` and the reason on stdout; nothing of the pickle is loaded by any
other process of ft.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine.models.pickled import REFUSED

INDEX = "model.safetensors.index.json"


class NoWeights(Exception):  # noqa: N818 - what a file is
    """The file holds something else than tensors by name."""


def convert(folder: Path) -> None:
    """Write a safetensors file beside each `pytorch_model*.bin` of a folder, and the index of several.

    Raises NoWeights, and OSError where the folder cannot be written.
    """
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    places: dict[str, str] = {}
    for number, path in enumerate(pickles, 1):
        name = (
            "model.safetensors"
            if len(pickles) == 1
            else f"model-{number:05}-of-{len(pickles):05}.safetensors"
        )
        tensors = _apart(_read(path))
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
    if len(pickles) > 1:
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # torn bytes can raise anything; torch's own text advises to load it without the check
        first = str(error).strip().splitlines()[:1]
        raise NoWeights(
            f"{path.name} is damaged, or holds more than weights: {''.join(first)[:300]}"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise NoWeights(f"{path.name} holds something else than tensors by name.")
    return {str(name): tensor for name, tensor in found.items()}


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, each with memory of its own: safetensors takes none that share it, as tied weights do."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        where = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.contiguous() if where not in seen else tensor.contiguous().clone()
        seen.add(where)
    return apart


if __name__ == "__main__":
    try:
        convert(Path(sys.argv[1]))
    except NoWeights as reason:
        print(reason)
        sys.exit(REFUSED)
