"""The embedding and the output layer on MLX: rows for new tokens, and what is trained of them beside an adapter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

from engine.config.adapters import Adapter
from engine.data.tokenization.new_tokens import NewToken
from engine.errors import ModelError

EMBEDDINGS = (nn.Embedding, nn.QuantizedEmbedding)
QUANTISED = (nn.QuantizedEmbedding, nn.QuantizedLinear)
Beside = dict[str, dict[str, mx.array]]
"""Weights trained beside an adapter, by the path of their module: `rows` `[n, width]`, or `weight` and `bias` whole."""


class TokenRows(nn.Module):
    """A layer with trained rows `[n, width]` in the place of those that its matrix has for the token ids `ids`."""

    def __init__(self, base: Any, rows: mx.array, ids: Sequence[int]) -> None:
        super().__init__()
        self.base = base
        self.rows = rows
        self._ids = mx.array(list(ids))

    @property
    def weight(self) -> mx.array:
        """The layer's own matrix, which models ask for its format."""
        matrix: mx.array = self.base.weight
        return matrix

    @property
    def ids(self) -> mx.array:
        """Token ids `[n]`."""
        return self._ids

    def over(self, logits: mx.array, x: mx.array) -> mx.array:
        """Logits `[…, vocabulary]` of x `[…, width]` with those of the trained rows in their places."""
        own = x @ self.rows.T.astype(x.dtype)
        if "bias" in self.base:
            own = own + self.base.bias[self._ids]
        places = mx.broadcast_to(self._ids, own.shape)
        return mx.put_along_axis(logits, places, own.astype(logits.dtype), axis=-1)


class EmbeddingRows(TokenRows):
    """An embedding some of whose rows are trained; where it is the output too, they are trained as both."""

    def __init__(self, base: Any, rows: mx.array, ids: Sequence[int]) -> None:
        super().__init__(base, rows, ids)
        place = np.full(rows_of(base), -1, dtype=np.int32)
        place[list(ids)] = np.arange(len(ids))
        self._place = mx.array(place)

    def __call__(self, tokens: mx.array) -> mx.array:
        found, plain = self._place[tokens], self.base(tokens)
        own = self.rows[mx.maximum(found, 0)].astype(plain.dtype)
        return mx.where((found >= 0)[..., None], own, plain)

    def as_linear(self, x: mx.array) -> mx.array:
        """The output layer that is tied to it."""
        return self.over(self.base.as_linear(x), x)


class HeadRows(TokenRows):
    """An output layer some of whose rows are trained."""

    def __call__(self, x: mx.array) -> mx.array:
        return self.over(self.base(x), x)


def embedding_path(model: Any) -> str:
    """Path of the embedding."""
    kinds = (*EMBEDDINGS, EmbeddingRows)
    found = [path for path, module in model.named_modules() if isinstance(module, kinds)]
    return next((path for path in sorted(found) if path.endswith(("embed_tokens", "wte"))), "")


def head_path(model: Any) -> str:
    """Path of the output layer: `lm_head`, or the embedding that it is tied to."""
    return "lm_head" if "lm_head" in model else embedding_path(model)


def rows_of(layer: Any) -> int:
    """Number of tokens that a layer has rows for."""
    count: int = layer.weight.shape[0]
    return count


def grow(model: Any, about: dict[str, Any], tokens: Sequence[NewToken], folder: Path) -> None:
    """Give every new token a row in embedding and output, and `about`, the model's config, their number.

    The rows start as `engine.backends.torch.vocabulary.grow` says. Raises ModelError where the matrices are held in few
    bits, so that nothing can be put into them.
    """
    if not tokens:
        return
    modules = dict(model.named_modules())
    layers = [modules[path] for path in dict.fromkeys((embedding_path(model), head_path(model)))]
    had = rows_of(layers[0])
    need = max(had, max(token.id for token in tokens) + 1)
    if all(token.was_there for token in tokens) and need == had:
        return
    if any(isinstance(layer, QUANTISED) for layer in layers):
        raise ModelError(
            f"{folder}: its embedding is held in few bits, which takes no new rows.",
            "Train on the unquantised model: model.quantization: 4bit holds the other layers in few bits.",
        )
    for layer in layers:
        for name in ("weight", "bias"):
            if name in layer:
                layer[name] = _grown(layer[name], tokens, need)
                mx.eval(layer[name])
    about["vocab_size"] = need


def _grown(values: mx.array, tokens: Sequence[NewToken], need: int) -> mx.array:
    before = np.array(values.astype(mx.float32))
    had = len(before)
    after = np.concatenate([before, np.repeat(before.mean(0, keepdims=True), need - had, 0)])
    for token in tokens:
        pieces = [piece for piece in token.pieces if piece < had]
        if pieces and not token.was_there:
            after[token.id] = before[pieces].mean(0)
    return mx.array(after).astype(values.dtype)


def fresh(model: Any, wanted: Adapter, tokens: Sequence[NewToken]) -> Beside:
    """Weights trained beside an adapter, as they start; a tied matrix is one, whichever of its names is given."""
    modules = dict(model.named_modules())
    embedding, head = embedding_path(model), head_path(model)
    named = {"embed_tokens": embedding, "lm_head": head}
    whole = {named[name] for name in wanted.modules_to_save}
    ids = mx.array(sorted(token.id for token in tokens)) if tokens else None
    found: Beside = {}
    for path in dict.fromkeys((embedding, head)):
        layer = modules[path]
        if path in whole:
            _refuse_quantised(layer, path)
            found[path] = {name: layer[name] for name in ("weight", "bias") if name in layer}
        elif ids is not None:
            found[path] = {"rows": _dense_rows(layer, ids)}
    return found


def _dense_rows(layer: Any, ids: mx.array) -> mx.array:
    if not isinstance(layer, QUANTISED):
        return layer.weight[ids].astype(mx.float32)
    parts = (layer.weight[ids], layer.scales[ids], layer.biases[ids])
    return mx.dequantize(*parts, group_size=layer.group_size, bits=layer.bits, mode=layer.mode).astype(
        mx.float32
    )


def _refuse_quantised(layer: Any, path: str) -> None:
    if isinstance(layer, QUANTISED):
        raise ModelError(
            f"adapter.modules_to_save: {path} is held in few bits, which cannot be trained.",
            "Train on the unquantised model: model.quantization: 4bit leaves these layers as they are.",
        )


def install(model: Any, beside: Beside, ids: Sequence[int]) -> None:
    """Put the values on the model, trainable. The rows are those of the token ids `ids`."""
    modules = dict(model.named_modules())
    for path, values in beside.items():
        layer = modules[path]
        if "rows" in values:
            form = EmbeddingRows if isinstance(layer, EMBEDDINGS) else HeadRows
            wrapped = form(layer, values["rows"], ids)
            wrapped.freeze()
            wrapped.unfreeze(recurse=False, keys=["rows"])
            _put(model, path, wrapped)
        else:
            for name, value in values.items():
                layer[name] = value
            layer.unfreeze()


def _put(model: Any, path: str, module: Any) -> None:
    *front, last = path.split(".")
    here = model
    for step in front:
        here = here[int(step)] if step.isdigit() else here[step]
    here[last] = module
