"""Shapes of common architectures by formula, from the values of config.json alone: a list of many models is quick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.models.shape import Linear, ModelShape


@dataclass(frozen=True)
class Family:
    """Differences of a Llama-like decoder from Llama. Defaults are those of transformers for that config."""

    heads: int | None = None
    """Value where published files leave it out."""
    kv_heads: int | None = None
    head_dim: int | None = None
    tied: bool = False
    norms: int = 2
    query_key_norms: bool = False
    biased: tuple[str, ...] = ()
    """Matrices that always have a bias."""
    attention_bias: bool = True
    """True if the config's `attention_bias` applies, to all four projections."""
    mlp_bias: bool = False
    """True if the config's `mlp_bias` applies."""
    fused: bool = False
    """One matrix for query, key and value, and one for gate and up."""


FAMILIES: Mapping[str, Family] = {
    "llama": Family(mlp_bias=True),
    "mistral": Family(kv_heads=8, attention_bias=False),
    "qwen2": Family(kv_heads=32, biased=("q_proj", "k_proj", "v_proj"), attention_bias=False),
    "qwen3": Family(kv_heads=32, head_dim=128, query_key_norms=True),
    "smollm3": Family(kv_heads=4, tied=True, mlp_bias=True),
    "gemma": Family(kv_heads=16, head_dim=256, tied=True),
    "gemma2": Family(kv_heads=4, head_dim=256, tied=True, norms=4),
    "gemma3_text": Family(heads=8, kv_heads=4, head_dim=256, tied=True, norms=4, query_key_norms=True),
    "phi3": Family(attention_bias=False, fused=True),
}
"""By config.json's `model_type`. GPT-2 is built differently and has a function of its own."""


def plain_decoder(
    kind: str, layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, vocab: int, tied: bool
) -> ModelShape:
    """The shape that a config.json with these values has; see `decoder`."""
    return decoder(
        kind,
        {
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "vocab_size": vocab,
            "tie_word_embeddings": tied,
        },
    )


def decoder(kind: str, config: Mapping[str, Any]) -> ModelShape:
    """A decoder of the Llama kind: attention, gated MLP, root-mean-square norms.

    `kind` is one of `FAMILIES`, `config` what config.json says. Raises KeyError for what it lacks.
    """
    family = FAMILIES[kind]
    hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    intermediate, vocab = int(config["intermediate_size"]), int(config["vocab_size"])
    heads = int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads", family.kv_heads) or heads)
    head_dim = int(config.get("head_dim", family.head_dim) or hidden // heads)
    if heads % kv_heads or not head_dim:
        raise ValueError(f"{heads} heads of {head_dim}, {kv_heads} of them for keys and values")
    tied = bool(config.get("tie_word_embeddings", family.tied))
    query, key = heads * head_dim, kv_heads * head_dim
    if family.fused:
        attention = [("qkv_proj", hidden, query + 2 * key), ("o_proj", query, hidden)]
        mlp = [("gate_up_proj", hidden, 2 * intermediate), ("down_proj", intermediate, hidden)]
    else:
        projections = [("q_proj", hidden, query), ("k_proj", hidden, key), ("v_proj", hidden, key)]
        attention = [*projections, ("o_proj", query, hidden)]
        gates = [("gate_proj", hidden, intermediate), ("up_proj", hidden, intermediate)]
        mlp = [*gates, ("down_proj", intermediate, hidden)]
    linears = tuple(Linear(name, inputs, outputs, layers) for name, inputs, outputs in attention + mlp)
    biased = set(family.biased)
    if family.attention_bias and config.get("attention_bias"):
        biased |= {name for name, _, _ in attention}
    if family.mlp_bias and config.get("mlp_bias"):
        biased |= {name for name, _, _ in mlp}
    biases = sum(linear.outputs * linear.count for linear in linears if linear.name in biased)
    norms = layers * (family.norms * hidden + 2 * head_dim * family.query_key_norms) + hidden
    embeddings = vocab * hidden * (1 if tied else 2)
    return ModelShape(
        architecture=kind,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=vocab,
        tied=tied,
        parameters=embeddings + _weights(linears) + biases + norms,
        linears=linears,
        context=int(config.get("max_position_embeddings") or 0),
        embedding_parameters=embeddings,
    )


def gpt2(config: Mapping[str, Any]) -> ModelShape:
    """GPT-2: learned positions, one matrix for query, key and value, biases and layer norms everywhere."""
    hidden, layers, heads = int(config["n_embd"]), int(config["n_layer"]), int(config["n_head"])
    vocab, context = int(config["vocab_size"]), int(config.get("n_positions", 1024))
    inner = int(config.get("n_inner") or 4 * hidden)
    linears = (
        Linear("c_attn", hidden, 3 * hidden, layers),
        Linear("c_proj", hidden, hidden, layers),
        Linear("c_fc", hidden, inner, layers),
        Linear("c_proj", inner, hidden, layers),
    )
    tied = bool(config.get("tie_word_embeddings", True))
    embeddings = vocab * hidden * (1 if tied else 2) + context * hidden
    biases = sum(linear.outputs * linear.count for linear in linears)
    norms = (2 * layers + 1) * 2 * hidden
    return ModelShape(
        architecture="gpt2",
        layers=layers,
        hidden=hidden,
        intermediate=inner,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        vocab=vocab,
        tied=tied,
        parameters=embeddings + _weights(linears) + biases + norms,
        linears=linears,
        context=context,
        embedding_parameters=embeddings,
        positions=context,
    )


def _weights(linears: Sequence[Linear]) -> int:
    return sum(linear.inputs * linear.outputs * linear.count for linear in linears)
