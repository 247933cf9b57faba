"""Layer shapes and parameter counts from config.json alone: no weights are read, nothing heavy imported."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models.config_values import AGAIN, check_values
from engine.models.language_model import ROUTERS, of_language_model
from engine.models.local import headers, read_config
from engine.models.prequantized import Packed


@dataclass(frozen=True)
class Linear:
    """`count` matrices `[outputs, inputs]` whose modules are called `name`: as a rule, one a layer."""

    name: str
    inputs: int
    outputs: int
    count: int


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model that memory and time depend on.

    `parameters` counts every weight once (a tied output is the embedding). `embedding_parameters` is
    the part of them in embeddings, learned positions and an untied output, which no quantisation touches.
    `linears` are the matrices of the language model that `all-linear` adapts and quantisation shrinks; the output is
    not one.
    """

    architecture: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    parameters: int
    linears: tuple[Linear, ...]
    context: int
    """Tokens that the model was made for; 0 where its config does not say."""
    embedding_parameters: int
    experts: tuple[Linear, ...] = ()
    """The matrices of a mixture's experts, which get an adapter only by name. transformers holds gate and up of
    an expert in one, so each of the two has the outputs of both."""
    tower_weights: int = 0
    """Weights of linear layers that see or hear: quantised as those of the language model are, and never adapted."""
    packed: Packed | None = None
    """Quantization of the weights by another program."""
    positions: int | None = None
    """Most tokens of a row, where the model has a vector for each position; None where positions are computed."""

    @property
    def linear_parameters(self) -> int:
        """Weights of `linears`."""
        return sum(layer.inputs * layer.outputs * layer.count for layer in self.linears)

    def with_tokens(self, count: int) -> "ModelShape":
        """The shape with rows for so many more tokens in embedding and output."""
        more = count * self.hidden * (1 if self.tied else 2)
        return replace(
            self,
            vocab=self.vocab + count,
            parameters=self.parameters + more,
            embedding_parameters=self.embedding_parameters + more,
        )


@dataclass(frozen=True)
class TokenRoom:
    """Limits of the tokens that a model accepts; None where there is no limit, or none is known."""

    ids: int | None = None
    """Rows of its embedding: token ids are below."""
    added: frozenset[int] = frozenset()
    """Ids that get a row of their own as the model is loaded (`model.add_tokens`)."""
    positions: int | None = None
    """See `ModelShape.positions`."""
    context: int | None = None
    """Tokens that it was made for."""


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


FIXED_POSITIONS = (
    *("gpt2", "gpt_bigcode", "gpt_neo", "gptj", "codegen", "opt", "biogpt", "ctrl", "openai-gpt", "mpt"),
    *("bart", "mbart", "blenderbot", "blenderbot-small", "pegasus", "trocr", "bert", "roberta", "electra"),
)
"""Model types that fail on a row with more tokens than their config says, tried with transformers 5.17: a vector is
learned for each position, or a table of them is made when the model is loaded."""
LEARNED_POSITIONS = ("wpe", "embed_positions", "position_embeddings", "positions_embed")
"""Names of the tables of learned positions, in types that are not known here."""
PAIRED = ("gate_proj", "up_proj", "w1", "w3")
"""Experts' matrices that transformers holds two in one."""


def shape_of(folder: Path) -> ModelShape:
    """The model's shape: exact for the architectures known here, read from the weights' headers for others.

    Raises ModelError where config.json lacks something or has what no model can have, or where an architecture
    unknown here has no weights.
    """
    config = read_config(folder)
    check_values(config, folder / "config.json")
    kind = str(config["model_type"])
    try:
        return replace(_shape(kind, config, folder), packed=Packed.of(config))
    except KeyError as error:
        raise ModelError(f"{folder / 'config.json'} has no {error.args[0]}.", AGAIN) from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        message = f"{folder / 'config.json'} has a value that a {kind} model cannot have: {error}."
        raise ModelError(message, AGAIN) from error


def _shape(kind: str, config: Mapping[str, Any], folder: Path) -> ModelShape:
    if kind in FAMILIES:
        return decoder(kind, config)
    return _gpt2(config) if kind == "gpt2" else _measured(kind, config, folder)


def room_of(folder: Path) -> TokenRoom:
    """Token limits of a model's folder; unknown for one without a config.json. Raises as `shape_of` does."""
    if not (folder / "config.json").is_file():
        return TokenRoom()
    shape = shape_of(folder)
    return TokenRoom(shape.vocab, positions=shape.positions, context=shape.context or None)


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


def _gpt2(config: Mapping[str, Any]) -> ModelShape:
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


def _measured(kind: str, config: Mapping[str, Any], folder: Path) -> ModelShape:
    """The shape of an architecture unknown here, from the tensors in its safetensors headers.

    Matrices inside numbered layers are taken for linear ones, other matrices for embeddings.
    """
    try:
        tensors = [tensor for header in headers(folder).values() for tensor in header]
    except ModelError as error:
        message = (
            f"The architecture {kind} of {folder} is unknown here, and its weights do not show its size."
        )
        raise ModelError(message, error.message) from error
    counted: Counter[tuple[str, int, int]] = Counter()
    experts: Counter[tuple[str, int, int]] = Counter()
    embeddings = towers = rows = 0
    own = set(of_language_model(tensor.name for tensor in tensors))
    for tensor in tensors:
        if len(tensor.shape) == 2 and re.search(r"\.\d+\..+\.weight$", tensor.name):
            name, (outputs, inputs) = tensor.name.split(".")[-2], tensor.shape
            if tensor.name not in own:
                towers += tensor.size
            elif re.search(r"\.experts\.\d+\.", tensor.name):
                experts[name, inputs, outputs * (2 if name in PAIRED else 1)] += 1
            elif name not in ROUTERS:
                counted[name, inputs, outputs] += 1
        elif len(tensor.shape) == 2 and tensor.name in own:
            embeddings += tensor.size
            rows = max(rows, tensor.shape[0])
    text: Mapping[str, Any] = config.get("text_config", config)
    family = FAMILIES.get(str(text.get("model_type")), Family())
    context = int(
        text.get("max_position_embeddings") or text.get("n_positions") or text.get("max_seq_len") or 0
    )
    learned = kind in FIXED_POSITIONS or any(
        name in LEARNED_POSITIONS for tensor in tensors for name in tensor.name.split(".")[-2:-1]
    )
    hidden = int(_first(text, "hidden_size", "n_embd", "d_model"))
    heads = int(_first({"num_heads": family.heads, **text}, "num_attention_heads", "n_head", "num_heads"))
    vocab = int(text.get("vocab_size") or rows)
    return ModelShape(
        architecture=kind,
        layers=int(_first(text, "num_hidden_layers", "n_layer", "num_layers")),
        hidden=hidden,
        intermediate=int(text.get("intermediate_size") or text.get("ffn_dim") or 4 * hidden),
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
        tower_weights=towers,
    )


def _first(config: Mapping[str, Any], *names: str) -> Any:
    """The first of the names that the config has; architectures call the same thing differently."""
    for name in names:
        if config.get(name) is not None:
            return config[name]
    raise KeyError(names[0])


def _weights(linears: Sequence[Linear]) -> int:
    return sum(linear.inputs * linear.outputs * linear.count for linear in linears)
