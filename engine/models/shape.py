"""Sizes of a model that memory and time depend on."""

from dataclasses import dataclass, replace

from engine.models.prequantized import Held, Packed


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
    idle_parameters: int = 0
    """Weights of experts that a token does not go through."""
    tower_weights: int = 0
    """Weights of linear layers that see or hear: quantised as those of the language model are, and never adapted."""
    packed: Packed | None = None
    """Quantization of the weights by another program."""
    held: Held | None = None
    """Quantization that torch trains on: the linear layers are in bitsandbytes' formats already."""
    expanded: str | None = None
    """Format that the folder holds the weights in, and that is widened to bf16 as they are loaded."""
    positions: int | None = None
    """Most tokens of a row, where the model has a vector for each position; None where positions are computed."""

    @property
    def active_parameters(self) -> int:
        """Weights that a token goes through: all of them but for a mixture's other experts."""
        return self.parameters - self.idle_parameters

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
