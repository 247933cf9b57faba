"""Tensors of a GGUF file: their names there, and how each is made from the model's own, one at a time."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from engine.errors import ModelError
from engine.export.gguf.architectures import Architecture
from engine.export.gguf.rope import rope_factors
from engine.export.gguf.settings import Settings
from engine.models.language_model import of_language_model
from engine.models.tensors import Float32, RowTensors

PIECE = 1 << 20
"""Weights that are read at a time."""
HEAD, EMBEDDING = "lm_head.weight", "token_embd.weight"
COMPUTED = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Ends of names of buffers that older files hold among the weights."""
EXPERT = re.compile(r"(?P<before>.+\.experts)\.(?P<index>\d+)\.(?P<part>\w+)\.weight")
FUSED_EXPERTS = re.compile(r"(?P<before>.+\.experts)\.(?P<part>gate_up_proj|down_proj)")
PARTS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
"""Mixtral's names of an expert's matrices, and those that all others have."""
EXPERTS = {"gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps"}


@dataclass(frozen=True)
class Source:
    """One tensor of the file before it is quantised."""

    name: str
    shape: tuple[int, ...]
    """As numpy has it: the length of a row comes last."""
    blocks: Callable[[], Iterable[Float32]]
    """Makes its values, whole rows at a time and in order; nothing of them is kept."""


def sources(
    tensors: RowTensors, settings: Settings, architecture: Architecture, tied: bool | None
) -> list[Source]:
    """The tensors of the file, in the order of the model's; `tied` leaves out an output layer, which only repeats the
    embedding.

    Raises ModelError for a tensor that llama.cpp has no place for.
    """
    names = of_language_model(tensors.infos)
    lookup = NameMap(architecture, settings)
    found = [
        Source(name, values.shape, lambda values=values: [values])  # type: ignore[misc]
        for name, values in rope_factors(settings).items()
    ]
    experts: dict[str, dict[int, str]] = {}
    for name in names:
        if name.endswith(COMPUTED) or (_plain(name) == HEAD and tied):
            continue
        if match := EXPERT.fullmatch(name):
            place = f"{match['before']}.{PARTS.get(match['part'], match['part'])}"
            experts.setdefault(place, {})[int(match["index"])] = name
        elif match := FUSED_EXPERTS.fullmatch(name):
            found += _fused(tensors, name, match["part"], lookup)
        else:
            found.append(_single(tensors, name, settings, architecture, lookup))
    found += [_stacked(tensors, place, by_index, settings, lookup) for place, by_index in experts.items()]
    return found


class NameMap:
    """Names of an architecture's tensors in GGUF, by transformers' names of them."""

    def __init__(self, architecture: Architecture, settings: Settings) -> None:
        import gguf

        kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
        self._map: Any = gguf.get_tensor_name_map(kinds[architecture.name], settings.layers)
        self._settings = settings

    def __getitem__(self, name: str) -> str:
        """The name in GGUF. Raises ModelError where there is none."""
        found = self._map.get_name(_plain(name), try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ModelError(
                f"{self._settings.folder}: llama.cpp has no place for {name} in a model of the kind "
                f"{self._settings.kind}.",
                "Export it as merged, or as mlx.",
            )
        return str(found)

    def expert(self, place: str, part: str) -> str:
        """The name of all experts' matrices of one layer."""
        index = re.search(r"\.(\d+)\.", place)
        if index is None or part not in EXPERTS:
            return self[f"{place}.{part}"]  # which is refused by its name
        return f"blk.{index[1]}.{EXPERTS[part]}.weight"


def permuted(rows: Float32, heads: int) -> Float32:
    """llama.cpp's order of the rows `[heads * head width, …]` of a query or key matrix.

    transformers has the halves of a head's rotated pairs apart, llama.cpp each pair side by side (as
    `engine.models.gguf_llama.unpermute`, which is the inverse).
    """
    pairs = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))


def rotated_heads(name: str, settings: Settings, architecture: Architecture) -> int:
    """Heads of a projection whose rows are in another order in GGUF; 0 where they are not."""
    if not architecture.permuted:
        return 0
    layer = name.rpartition(".")[0].rpartition(".")[2]
    return {"q_proj": settings.heads, "k_proj": settings.kv_heads}.get(layer, 0)


def _single(
    tensors: RowTensors, name: str, settings: Settings, architecture: Architecture, lookup: NameMap
) -> Source:
    """A tensor that is one in both."""
    shape = tensors.infos[name].shape
    heads = rotated_heads(name, settings, architecture)
    if heads:
        return Source(lookup[name], shape, lambda: [permuted(tensors.read(name), heads)])
    if name.endswith(architecture.transposed) and architecture.transposed:
        return Source(lookup[name], shape[::-1], lambda: [np.ascontiguousarray(tensors.read(name).T)])
    if architecture.norm_offset and name.endswith("norm.weight"):
        offset = np.float32(architecture.norm_offset)
        return Source(lookup[name], shape, lambda: [tensors.read(name) + offset])
    return Source(lookup[name], shape, lambda: _rows(tensors, name))


def _rows(tensors: RowTensors, name: str) -> Iterator[Float32]:
    """A tensor's values in blocks of rows."""
    shape = tensors.infos[name].shape
    step = max(1, PIECE // max(1, prod(shape[1:])))
    for start in range(0, shape[0], step):
        yield tensors.read_rows(name, start, min(start + step, shape[0]))


def _stacked(
    tensors: RowTensors, place: str, by_index: Mapping[int, str], settings: Settings, lookup: NameMap
) -> Source:
    """One matrix of every expert of a layer, `[experts, outputs, inputs]`."""
    before, _, part = place.rpartition(".")
    if sorted(by_index) != list(range(settings.experts)):
        raise ModelError(
            f"{settings.folder}: {before} holds {len(by_index)} experts' {part}, and config.json "
            f"says {settings.experts}.",
            "The copy or download was not finished; get the files again.",
        )
    shape = (len(by_index), *tensors.infos[by_index[0]].shape)
    return Source(
        lookup.expert(before, part),
        shape,
        lambda: (block for index in range(shape[0]) for block in _rows(tensors, by_index[index])),
    )


def _fused(tensors: RowTensors, name: str, part: str, lookup: NameMap) -> Iterator[Source]:
    """Experts that transformers holds in one tensor: `[experts, outputs, inputs]`, gate above up."""
    before, (experts, outputs, inputs) = name.rpartition(".")[0], tensors.infos[name].shape
    if part == "down_proj":
        yield Source(lookup.expert(before, part), (experts, outputs, inputs), lambda: _rows(tensors, name))
        return
    half = outputs // 2
    for own, rows in (("gate_proj", slice(0, half)), ("up_proj", slice(half, None))):
        yield Source(
            lookup.expert(before, own),
            (experts, half, inputs),
            lambda rows=rows: (  # type: ignore[misc]
                tensors.read_rows(name, index, index + 1)[0, rows] for index in range(experts)
            ),
        )


def _plain(name: str) -> str:
    """A tensor's name without the parts that say that it is of a multimodal model's language model."""
    return name.replace("language_model.", "")
