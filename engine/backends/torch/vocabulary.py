"""The embedding and the output layer: rows for new tokens, and what is trained of them beside an adapter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.utils import ModulesToSaveWrapper
from peft.utils.other import TrainableTokensWrapper
from torch import Tensor, nn

from engine.config.adapters import Adapter
from engine.data.tokenization.new_tokens import NewToken
from engine.errors import ConfigError

EMBEDDING, HEAD = "embed_tokens", "lm_head"
"""Names of the two in recipes, whatever a model's own names are."""


@torch.no_grad()
def grow(model: Any, tokens: Sequence[NewToken]) -> None:
    """Give every new token a row in embedding and output: the mean of those of the pieces that its text was before.

    So the model reads it at first as it read the text (Koto et al. 2021, arXiv:2109.04607). A row without pieces, or
    between new tokens, is the mean of all. Tokens that are there already keep their rows.
    """
    if not tokens:
        return
    had = model.get_input_embeddings().weight.shape[0]
    need = max(token.id for token in tokens) + 1
    if need > had:
        model.resize_token_embeddings(need, mean_resizing=False)  # else the new ones are drawn at random
    for layer in _layers(model):
        for values in filter(lambda part: part is not None, (layer.weight, getattr(layer, "bias", None))):
            before = values[:had].float()
            if need > had:
                values[had:] = before.mean(0).to(values.dtype)
            for token in tokens:
                pieces = [piece for piece in token.pieces if piece < had]
                if pieces and not token.was_there:
                    values[token.id] = before[pieces].mean(0).to(values.dtype)


def _layers(model: Any) -> list[Any]:
    """The embedding, and the output layer where it has weights of its own."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    return [embedding] if head is None or is_tied(model) else [embedding, head]


def is_tied(model: Any) -> bool:
    """Return True if embedding and output are one matrix."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def trained_beside(model: Any, wanted: Adapter, tokens: Sequence[NewToken]) -> dict[str, Any]:
    """Settings of PEFT's LoraConfig with which the recipe's layers and the rows of new tokens are trained.

    A tied matrix stays one: whichever of its names the recipe says, it is trained as both.
    """
    names = names_of(model)
    ids = sorted({token.id for token in tokens})
    if is_tied(model):
        if wanted.modules_to_save:
            # PEFT ties what is named `embed_tokens` or `lm_head`: with both names, GPT-2's `wte` too.
            return {"modules_to_save": [names[EMBEDDING], names[HEAD]], "ensure_weight_tying": True}
        return {"trainable_token_indices": {names[EMBEDDING]: ids}} if ids else {}
    whole = [names[module] for module in wanted.modules_to_save]
    rows = {name: ids for name in names.values() if name not in whole} if ids else {}
    return ({"modules_to_save": whole} if whole else {}) | ({"trainable_token_indices": rows} if rows else {})


def keep_tied(model: Any, names: Mapping[str, str]) -> None:
    """Make sure that a tied matrix is still one under the adapter, and that PEFT will find it so in the saved settings.

    `names` are those of the layers before PEFT put anything on them. PEFT ties by names, and leaves in its settings a
    list of names by which it would not tie again. Raises ConfigError where it did not.
    """
    settings = model.peft_config["default"]
    if not (settings.modules_to_save and settings.ensure_weight_tying):
        return
    causal = model.get_base_model()
    if not getattr(causal.config, "tie_word_embeddings", False):
        return
    parts = (causal.get_input_embeddings(), causal.get_output_embeddings())
    weights = [
        part.modules_to_save["default"].weight for part in parts if isinstance(part, ModulesToSaveWrapper)
    ]
    if len(weights) != 2 or weights[0] is not weights[1]:
        raise ConfigError(
            "adapter.modules_to_save: PEFT does not know how this model's embedding and output layer are one",
            "Leave it out, or train every weight: adapter.type: none.",
        )
    settings.modules_to_save = [names[EMBEDDING], names[HEAD]]


def names_of(model: Any) -> Mapping[str, str]:
    """The model's own names of the two, by the recipe's."""
    layers = {id(model.get_input_embeddings()): EMBEDDING, id(model.get_output_embeddings()): HEAD}
    return {
        layers[id(module)]: path.rpartition(".")[2]
        for path, module in model.named_modules()
        if id(module) in layers
    }


@dataclass(frozen=True)
class Head:
    """The output layer as a product: weight `[vocabulary, width]` and bias, and rows that stand in for some of it."""

    weight: Tensor
    bias: Tensor | None = None
    rows: Tensor | None = None
    """Trained rows `[n, width]` in fp32, where new tokens alone are trained."""
    ids: Tensor | None = None
    """Their token ids `[n]`."""

    @property
    def plain(self) -> bool:
        """True if it is one frozen matrix."""
        return self.rows is None and not self.weight.requires_grad


def head_of(layer: Any) -> Head:
    """The output layer of a model, as PEFT may have wrapped it."""
    if isinstance(layer, ModulesToSaveWrapper):
        layer = layer.modules_to_save["default"]
    if isinstance(layer, TrainableTokensWrapper):
        base = layer.token_adapter.get_base_layer()
        return Head(base.weight, getattr(base, "bias", None), *_rows_of(layer))
    return Head(layer.weight, getattr(layer, "bias", None))


def _rows_of(wrapper: Any) -> tuple[Tensor, Tensor]:
    """Trained rows and their ids."""
    layer = wrapper.token_adapter
    rows = layer.trainable_tokens_delta["default"]
    return rows, torch.tensor(layer.token_indices["default"], device=rows.device)


def install_forms(model: nn.Module, compute: torch.dtype) -> None:
    """Replace PEFT's forwards, which copy a whole matrix at every pass, by those that touch the trained rows alone.

    A layer that is trained whole is held in fp32 and computes in the format of its inputs.
    """
    for module in model.modules():
        if isinstance(module, TrainableTokensWrapper):
            is_embedding = isinstance(module.token_adapter.get_base_layer(), nn.Embedding)
            module.forward = _embedding_form(module, compute) if is_embedding else _head_form(module)
        elif isinstance(module, ModulesToSaveWrapper):
            layer = module.modules_to_save["default"]
            if isinstance(layer, nn.Linear):
                layer.forward = _cast_form(layer)


def _embedding_form(wrapper: Any, compute: torch.dtype) -> Callable[[Tensor], Tensor]:
    base, scale = wrapper.token_adapter.get_base_layer(), wrapper.token_adapter._get_embed_scale()
    rows, ids = _rows_of(wrapper)
    place = torch.full((base.weight.shape[0],), -1, dtype=torch.long, device=ids.device)
    place[ids] = torch.arange(len(ids), device=ids.device)

    def forward(tokens: Tensor) -> Tensor:
        """Token ids `[rows, length]` to vectors in the compute format."""
        found = place[tokens]
        own = rows[found.clamp(min=0)].to(compute)
        if scale is not None:
            own = own * scale.to(compute)
        return torch.where((found >= 0).unsqueeze(-1), own, base(tokens).to(compute))

    return forward


def _head_form(wrapper: Any) -> Callable[[Tensor], Tensor]:
    base = wrapper.token_adapter.get_base_layer()
    rows, ids = _rows_of(wrapper)

    def forward(x: Tensor) -> Tensor:
        own = x @ rows.to(x.dtype).T
        if base.bias is not None:
            own = own + base.bias[ids].to(x.dtype)
        return base(x).index_copy(-1, ids, own)

    return forward


def _cast_form(layer: Any) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return nn.functional.linear(x, layer.weight.to(x.dtype), bias)

    return forward
