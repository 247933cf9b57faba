"""Tensors of a GGUF file by the names of the model that it was made of, dequantised by gguf-py."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine.data.types import Float32
from engine.models.gguf_llama import unpermute
from engine.models.local import read_config
from engine.models.tensors import FolderTensors

PERMUTED = ("llama", "mistral", "mixtral", "smollm3")
"""Families of which llama.cpp rotates neighbouring values, so that the rows of Q and K lie in another order."""


def named(file: Path, model: Path) -> Iterator[tuple[str, Float32]]:
    """Name in the folder `model` and fp32 values of the tensors of a file.

    Those that have no such name are left out, and so are Gemma's norms, which llama.cpp holds with 1 added.
    """
    from gguf import MODEL_ARCH_NAMES, GGUFReader, get_tensor_name_map
    from gguf.quants import dequantize

    reader, config = GGUFReader(file), read_config(model)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    kind = str(fields["general.architecture"])
    architecture = next((known for known, name in MODEL_ARCH_NAMES.items() if name == kind), None)
    if architecture is None:
        return
    names = get_tensor_name_map(architecture, int(fields[f"{kind}.block_count"]))
    found = {tensor.name: tensor for tensor in reader.tensors}
    for own in FolderTensors(model).infos:
        tensor = found.get(names.get_name(own, try_suffixes=(".weight", ".bias")) or "")
        if tensor is not None and not (kind.startswith("gemma") and len(tensor.shape) == 1):
            values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            values = values.reshape(tuple(int(size) for size in reversed(tensor.shape)))
            yield own, _in_order(own, values, config)


def _in_order(name: str, values: Float32, config: dict[str, object]) -> Float32:
    """Rows of Q and K as transformers has them: halves of each head, not neighbours."""
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
    if heads is None or values.ndim == 1 or config.get("model_type") not in PERMUTED:
        return values
    count = int(str(config.get(heads) or config["num_attention_heads"]))
    return unpermute(values, count)
