"""Shapes of architectures that have no formula, from the names and shapes of their tensors."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from engine.models.formulas import FAMILIES, Family
from engine.models.language_model import ROUTERS, of_language_model
from engine.models.shape import Linear, ModelShape
from engine.models.weight_headers import TensorInfo

FIXED_POSITIONS = (
    *("gpt2", "gpt_bigcode", "gpt_neo", "gptj", "codegen", "opt", "biogpt", "ctrl", "openai-gpt", "mpt"),
    *("bart", "mbart", "blenderbot", "blenderbot-small", "pegasus", "trocr", "bert", "roberta", "electra"),
)
"""Model types that fail on a row with more tokens than their config says, tried with transformers 5.17: a vector is
learned for each position, or a table of them is made when the model is loaded."""
LEARNED_POSITIONS = ("wpe", "embed_positions", "position_embeddings", "positions_embed")
"""Names of the tables of learned positions, in types that are not known here."""
EXPERTS = re.compile(r"\.experts\.")
PAIRED = ("gate_proj", "up_proj", "w1", "w3")
"""Experts' matrices that transformers holds two in one."""
NAMES = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""Tensors that hold all experts of a layer, and the names that their matrices have in published files."""
W_NAMES = {"gate_up_proj": ("w1", "w3"), "down_proj": ("w2",)}
W_NAMED = ("mixtral", "phimoe", "minimax")
"""Architectures whose files have the names of `W_NAMES`."""


def shape_of_tensors(kind: str, config: Mapping[str, Any], tensors: Sequence[TensorInfo]) -> ModelShape:
    """Matrices inside numbered layers are taken for linear ones, other matrices for embeddings."""
    counted: Counter[tuple[str, int, int]] = Counter()
    experts: Counter[tuple[str, int, int]] = Counter()
    embeddings = towers = rows = of_experts = 0
    own = set(of_language_model(tensor.name for tensor in tensors))
    for tensor in tensors:
        if tensor.name in own and EXPERTS.search(tensor.name):
            of_experts += tensor.size
            experts.update(_experts(kind, tensor))
        elif len(tensor.shape) == 2 and re.search(r"\.\d+\..+\.weight$", tensor.name):
            (*_, parent, name, _), (outputs, inputs) = tensor.name.split("."), tensor.shape
            if tensor.name not in own:
                towers += tensor.size
            elif name not in ROUTERS and parent not in ROUTERS:  # as router.layer in Granite's files
                counted[name, inputs, outputs] += 1
        elif len(tensor.shape) == 2 and tensor.name in own:
            embeddings += tensor.size
            rows = max(rows, tensor.shape[0])
    text: Mapping[str, Any] = config.get("text_config") or config
    family = FAMILIES.get(str(text.get("model_type")), Family())
    context = int(
        text.get("max_position_embeddings") or text.get("n_positions") or text.get("max_seq_len") or 0
    )
    learned = kind in FIXED_POSITIONS or any(
        name in LEARNED_POSITIONS for tensor in tensors for name in tensor.name.split(".")[-2:-1]
    )
    hidden = int(_first(text, "hidden_size", "n_embd", "d_model", "dim"))
    heads = int(
        _first({"num_heads": family.heads, **text}, "num_attention_heads", "n_head", "num_heads", "n_heads")
    )
    vocab = int(text.get("vocab_size") or rows)
    return ModelShape(
        architecture=kind,
        layers=int(_first(text, "num_hidden_layers", "n_layer", "num_layers", "n_layers")),
        hidden=hidden,
        intermediate=int(
            _first({"none": 4 * hidden, **text}, "intermediate_size", "ffn_dim", "hidden_dim", "none")
        ),
        heads=heads,
        kv_heads=int(text.get("num_key_value_heads") or family.kv_heads or heads),
        head_dim=int(text.get("head_dim") or family.head_dim or hidden // heads),
        vocab=vocab,
        tied=embeddings < 2 * vocab * hidden,
        parameters=sum(tensor.size for tensor in tensors),
        linears=tuple(Linear(*about, count) for about, count in counted.items()),
        context=context,
        positions=context or None if learned else None,
        embedding_parameters=embeddings,
        experts=tuple(Linear(*about, count) for about, count in experts.items()),
        idle_parameters=of_experts - round(of_experts * _chosen(text)),
        tower_weights=towers,
    )


def _experts(kind: str, tensor: TensorInfo) -> dict[tuple[str, int, int], int]:
    """Matrices of one tensor of experts, with their number: one expert's `[outputs, inputs]`, or all of a layer."""
    if len(tensor.shape) == 2 and tensor.name.endswith(".weight"):
        name, (outputs, inputs) = tensor.name.split(".")[-2], tensor.shape
        return {(name, inputs, outputs * (2 if name in PAIRED else 1)): 1}
    if len(tensor.shape) == 3:
        count, outputs, inputs = tensor.shape
        names = (W_NAMES if kind in W_NAMED else NAMES).get(tensor.name.split(".")[-1], ())
        return {(name, inputs, outputs): count for name in names}
    return {}


def _chosen(text: Mapping[str, Any]) -> float:
    """Share of a mixture's experts that a token goes through, 0 to 1; 1 where the config does not say."""
    chosen = _first({"none": 0, **text}, "num_experts_per_tok", "experts_per_token", "none")
    among = _first({"none": 0, **text}, "num_local_experts", "num_experts", "n_routed_experts", "none")
    return chosen / among if chosen and among else 1.0


def _first(config: Mapping[str, Any], *names: str) -> Any:
    """The first of the names that the config has; architectures call the same thing differently."""
    for name in names:
        if config.get(name) is not None:
            return config[name]
    raise KeyError(names[0])
