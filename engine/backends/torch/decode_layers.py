"""Decoder layers of Llama's shape in a form for one new token a row: few operations, for each has a fixed cost.

Layers are known by their parts; that they compute the same is tried with the whole decoder (`decode.rows_stay_apart`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

from engine.backends.torch.decode_cache import RowCache
from engine.backends.torch.fused_forwards import SILU
from engine.backends.torch.norm import NormOf

CHILDREN = {
    "layer": {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"},
    "attention": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "mlp": {"gate_proj", "up_proj", "down_proj", "act_fn"},
}


@contextmanager
def short_forms(model: Any) -> Iterator[bool]:
    """Let the layers of `model` take their short form for one token a row, for the length of the block.

    Gives False, and changes nothing, where its layers have other parts.
    """
    layers = [module for module in model.modules() if _children(module) == CHILDREN["layer"]]
    if not layers or not all(map(_has_the_shape, layers)):
        yield False
        return
    before = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        layer.forward = _form(layer)
    try:
        yield True
    finally:
        for layer, own in zip(layers, before, strict=True):
            del layer.forward
            if own is not None:
                layer.forward = own


def _has_the_shape(layer: Any) -> bool:
    attention, mlp = layer.self_attn, layer.mlp
    if _children(attention) != CHILDREN["attention"] or _children(mlp) != CHILDREN["mlp"]:
        return False
    parts = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    parts += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    return (
        all(type(part) is nn.Linear and "forward" not in part.__dict__ for part in parts)
        and type(mlp.act_fn).__name__ in SILU
        and all(NormOf.of(norm) for norm in norms)
        and hasattr(attention, "head_dim")
        and hasattr(attention, "scaling")
        and getattr(attention, "layer_idx", None) is not None
    )


def _children(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}


def _form(layer: Any) -> Callable[..., Any]:
    own, attention, mlp = layer.forward, layer.self_attn, layer.mlp
    before, after = NormOf.of(layer.input_layernorm), NormOf.of(layer.post_attention_layernorm)
    assert before is not None
    assert after is not None
    at, size, scale = attention.layer_idx, attention.head_dim, attention.scaling
    heads, groups = attention.q_proj.out_features // size, attention.k_proj.out_features // size
    qkv = _together(attention.q_proj, attention.k_proj, attention.v_proj)
    gate_up, middle = _together(mlp.gate_proj, mlp.up_proj), mlp.gate_proj.out_features
    out, down = attention.o_proj, mlp.down_proj

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        cache = kwargs.get("past_key_values")
        if args or not isinstance(cache, RowCache) or hidden_states.shape[1] != 1:
            return own(hidden_states, *args, **kwargs)
        rows, width = hidden_states.shape[0], (hidden_states.shape[-1],)
        x = hidden_states.squeeze(1)
        parts = linear(rms_norm(x, width, before.weight, before.eps), *qkv).view(
            rows, heads + 2 * groups, size
        )
        q, k = _rotated(parts[:, : heads + groups], *kwargs["position_embeddings"]).split((heads, groups), 1)
        keys, values = cache.layers[at].update(k.unsqueeze(2), parts[:, heads + groups :].unsqueeze(2))
        queries = q.view(rows, groups, heads // groups, size)
        attended = scaled_dot_product_attention(
            queries, keys, values, kwargs.get("attention_mask"), scale=scale
        )
        x = linear(attended.reshape(rows, -1), out.weight, out.bias).add_(x)
        both = linear(rms_norm(x, width, after.weight, after.eps), *gate_up)
        inner = silu(both[:, :middle]).mul_(both[:, middle:])
        return linear(inner, down.weight, down.bias).add_(x).unsqueeze(1)

    return forward


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x `[rows, heads, d]` turned by angles whose cosines and sines are `[rows, 1, d]`, halves paired."""
    first, second = x.chunk(2, -1)
    return (x * cos).addcmul_(torch.cat((-second, first), -1), sin)


def _together(*layers: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of layers with one input as those of one; the layers' own become parts of them."""
    sizes = [layer.out_features for layer in layers]
    weight, bias = torch.cat([layer.weight.data for layer in layers]), None
    for layer, part in zip(layers, weight.split(sizes), strict=True):
        layer.weight.data = part
    biases = [layer.bias for layer in layers]
    if any(one is not None for one in biases):
        parts = [
            torch.zeros(size, dtype=weight.dtype, device=weight.device) if one is None else one.data
            for one, size in zip(biases, sizes, strict=True)
        ]
        bias = torch.cat(parts)
    return weight, bias
