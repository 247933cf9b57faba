"""Decoder layers of Llama's shape in a form for answers: few operations, for each has a fixed cost on every token.

Layers are known by their parts. That they compute the same is tried: with a whole pass (`install`), and with rows that
grow (`decode.rows_stay_apart`).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from engine.backends.torch.decode_attention import grouped_attention
from engine.backends.torch.fused_forwards import SILU
from engine.backends.torch.norm import NormOf
from engine.backends.torch.packed import PackedLayers, Product

CHILDREN = {
    "layer": {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"},
    "attention": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "mlp": {"gate_proj", "up_proj", "down_proj", "act_fn"},
}
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Relative distance of logits that rounding may make; the starter's in bf16 are up to 0.04 from those in fp32."""
MISFIT = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError)
"""What a model raises that needs something else than is tried on it."""
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of q `[…, n, heads, d]` to k and v `[…, n, kv_heads, d]` and what was before, `[…, n, heads · d]`."""


class AnsweringForm:
    """How a model that only answers multiplies: layers in their form for answers, and packed weights.

    `layers` is None where the model's own stay. `restore` undoes all of it.
    """

    def __init__(self, causal: Any) -> None:
        self.layers = install(causal)
        # The loss multiplies by the head itself, and the embeddings may be the same matrix.
        self._rest = PackedLayers(causal, kept=[causal.get_output_embeddings().weight])

    def restore(self) -> None:
        """Give the network its own weights and forwards back."""
        self._rest.restore()
        if self.layers is not None:
            self.layers.restore()


class AnsweringLayers:
    """The layers of a network in their form for answers. `restore` undoes it."""

    def __init__(self, layers: list[Any]) -> None:
        self._own = layers
        self.forms = [AnsweringLayer(layer) for layer in layers]
        for layer, form in zip(layers, self.forms, strict=True):
            layer.forward = form.forward

    def restore(self) -> None:
        """Give the layers their own weights and forwards back."""
        for layer, form in zip(self._own, self.forms, strict=True):
            del layer.__dict__["forward"]
            form.restore()


@torch.no_grad()
def install(causal: Any) -> AnsweringLayers | None:
    """Give the layers of `causal` their form for answers.

    Returns None, and changes nothing, where they have other parts, or a trial shows that they compute something else.
    """
    layers = [module for module in causal.modules() if _children(module) == CHILDREN["layer"]]
    attends = causal.config._attn_implementation == "sdpa"
    if not attends or not layers or not all(map(_has_the_shape, layers)):
        return None
    vocabulary = causal.get_input_embeddings().num_embeddings
    ids = torch.from_numpy(np.random.default_rng(0).integers(vocabulary, size=(1, 9))).to(causal.device)
    expected = causal(input_ids=ids, use_cache=False).logits.float()
    made = AnsweringLayers(layers)
    try:
        found = causal(input_ids=ids, use_cache=False).logits.float()
    except MISFIT:
        found = torch.full_like(expected, torch.nan)
    if torch.norm(found - expected) <= TOLERANCE[causal.dtype] * torch.norm(expected):
        return made
    made.restore()
    return None


def _has_the_shape(layer: Any) -> bool:
    attention, mlp = layer.self_attn, layer.mlp
    if _children(attention) != CHILDREN["attention"] or _children(mlp) != CHILDREN["mlp"]:
        return False
    parts = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    parts += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    return (
        all(type(part) is nn.Linear and "forward" not in part.__dict__ for part in parts)
        and "forward" not in layer.__dict__
        and type(mlp.act_fn).__name__ in SILU
        and all(NormOf.of(norm) for norm in norms)
        and hasattr(attention, "head_dim")
        and hasattr(attention, "scaling")
        and getattr(attention, "layer_idx", None) is not None
    )


def _children(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}


class AnsweringLayer:
    """A decoder layer of Llama's shape, its products with the same input made as one."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        before, after = NormOf.of(layer.input_layernorm), NormOf.of(layer.post_attention_layernorm)
        assert before is not None
        assert after is not None
        self.attention, self._before, self._after = attention, before, after
        self._width = (attention.q_proj.in_features,)
        self._size = size = attention.head_dim
        self._heads, self._groups = (
            attention.q_proj.out_features // size,
            attention.k_proj.out_features // size,
        )
        self._middle = mlp.gate_proj.out_features
        self._qkv = Product(attention.q_proj, attention.k_proj, attention.v_proj)
        self._out = Product(attention.o_proj)
        self._gate_up, self._down = Product(mlp.gate_proj, mlp.up_proj), Product(mlp.down_proj)

    def __call__(self, x: Tensor, turns: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """x `[…, n, width]` to the same; `turns` are the cosines and sines of the positions, `[…, n, d]` each."""
        parts = self._qkv(rms_norm(x, self._width, self._before.weight, self._before.eps))
        parts = parts.unflatten(-1, (-1, self._size))
        turned = _rotated(parts[..., : self._heads + self._groups, :], *turns)
        q, k = turned.split((self._heads, self._groups), -2)
        x = self._out(attend(q, k, parts[..., self._heads + self._groups :, :])).add_(x)
        both = self._gate_up(rms_norm(x, self._width, self._after.weight, self._after.eps))
        inner = silu(both[..., : self._middle]).mul_(both[..., self._middle :])
        return self._down(inner).add_(x)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *,
        position_embeddings: tuple[Tensor, Tensor],
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Tensor:
        """What transformers calls: hidden_states `[rows, n, width]` to the same."""

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            return attended(self.attention, q, k, v, past_key_values, attention_mask)

        return self(hidden_states, position_embeddings, attend)

    @property
    def nbytes(self) -> int:
        """Bytes of its weights."""
        return sum(product.nbytes for product in self._products)

    def restore(self) -> None:
        """Give the layer its own weights back."""
        for product in self._products:
            product.restore()

    @property
    def _products(self) -> tuple[Product, ...]:
        return self._qkv, self._out, self._gate_up, self._down


def attended(attention: Any, q: Tensor, k: Tensor, v: Tensor, cache: Any, mask: Tensor | None) -> Tensor:
    """Attention of q `[rows, heads, n, d]` to what `cache` holds and to k and v `[rows, kv_heads, n, d]`.

    The cache takes them in. Returns `[rows, n, heads · d]`. Without a mask, a query attends to what stands before it.
    """
    if cache is not None:
        k, v = cache.update(k, v, attention.layer_idx)
    found, _ = grouped_attention(attention, q, k, v, mask, scaling=attention.scaling)
    return found.flatten(2)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x `[…, n, heads, d]` turned by angles whose cosines and sines are `[…, n, d]`, halves paired."""
    first, second = x.chunk(2, -1)
    return (x * cos.unsqueeze(-2)).addcmul_(torch.cat((-second, first), -1), sin.unsqueeze(-2))
