"""Decoder layers of Llama's shape in a form that keeps little for the backward pass.

Llama, Mistral, Qwen2 and many others build a layer of the same parts: norm, attention with rotated queries and keys,
norm, gated MLP. Such a layer is known by its parts, and proved by a trial of the very layer; any other layer keeps
its own forward, with the linear layers, norms and MLPs in it replaced one by one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from engine.backends.torch.attention import SegmentAttention
from engine.backends.torch.fused_forwards import is_frozen_linear, is_gated_mlp, mlp_form, project
from engine.backends.torch.norm import NormOf

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
TRIAL_TOKENS = 5


class Rotation(torch.autograd.Function):
    """Rotary positions (Su et al. 2021, arXiv:2104.09864) of x `[rows, n, heads, d]`, halves paired. Keeps nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.angles = cos, sin
        return _rotated(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.angles
        return _rotated(grad, cos, sin, -1), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    """x turned by angles whose cosines and sines are `[rows, n, d]` with equal halves; `sign` -1 turns back."""
    half = x.shape[-1] // 2
    y = x * cos.unsqueeze(2)
    sin = sin[..., :half].unsqueeze(2)
    y[..., :half].addcmul_(x[..., half:], sin, value=-sign)
    y[..., half:].addcmul_(x[..., :half], sin, value=sign)
    return y


def replace_layers(model: nn.Module, attention: SegmentAttention, kept: torch.dtype) -> None:
    """Give every decoder layer of Llama's shape the saving form where a trial shows that it is the same.

    Each is tried: in SmolLM3, for one, every fourth layer looks like the others and rotates nothing.
    """
    for layer in model.modules():
        if _has_the_shape(layer):
            form = _form(layer, attention, kept)
            if _agrees(layer, form):
                layer.forward = form


def _has_the_shape(layer: Any) -> bool:
    attn, mlp = getattr(layer, "self_attn", None), getattr(layer, "mlp", None)
    names = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
    if attn is None or {name for name, _ in layer.named_children()} != names:
        return False
    return (
        {name for name, _ in attn.named_children()} == set(PROJECTIONS)
        and all(is_frozen_linear(getattr(attn, name)) for name in PROJECTIONS)
        and is_gated_mlp(mlp)
        and NormOf.of(layer.input_layernorm) is not None
        and NormOf.of(layer.post_attention_layernorm) is not None
    )


def _form(layer: Any, attention: SegmentAttention, kept: torch.dtype) -> Callable[..., Tensor]:
    own, attn = layer.forward, layer.self_attn
    before = NormOf.of(layer.input_layernorm)
    mlp = mlp_form(layer.mlp, kept, NormOf.of(layer.post_attention_layernorm))
    window = getattr(attn, "sliding_window", getattr(attn.config, "sliding_window", None))

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs.get("past_key_values") is not None or kwargs.get("attention_mask") is not None:
            return own(hidden_states, *args, **kwargs)  # answers, one token at a time
        heads = (*hidden_states.shape[:-1], -1, attn.head_dim)
        q, k, v = (
            y.view(heads) for y in project(hidden_states, (attn.q_proj, attn.k_proj, attn.v_proj), before)
        )
        q, k = (Rotation.apply(y, *kwargs["position_embeddings"]).transpose(1, 2) for y in (q, k))
        dropout = attn.attention_dropout if layer.training else 0.0
        attended, _ = attention(
            attn, q, k, v.transpose(1, 2), None, dropout, attn.scaling, sliding_window=window
        )
        (y,) = project(attended.reshape(*hidden_states.shape[:-1], -1), (attn.o_proj,))
        between = y.add_(hidden_states)
        return mlp(between).add_(between)

    return forward


def _agrees(layer: Any, form: Callable[..., Tensor]) -> bool:
    """Return True if both forms of a layer make the same of noise, in the format that it computes in."""
    weight = layer.input_layernorm.weight
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, TRIAL_TOKENS, weight.shape[0], generator=draw).to(weight)
    angles = torch.rand(1, TRIAL_TOKENS, layer.self_attn.head_dim // 2, generator=draw).repeat(1, 1, 2)
    positions = angles.cos().to(weight), angles.sin().to(weight)
    was = layer.training
    layer.eval()
    try:
        with torch.no_grad():
            own = layer(x, attention_mask=None, position_embeddings=positions)
            ours = form(x, position_embeddings=positions)
    except (AttributeError, TypeError, RuntimeError):
        return False  # a layer that needs something else
    finally:
        layer.train(was)
    own = own[0] if isinstance(own, tuple) else own
    tolerance = 1e-4 if x.dtype == torch.float32 else 5e-2
    return bool((ours - own).float().norm() < tolerance * own.float().norm())
