"""Attention of one new token a row to the columns of its row, with the queries of a group on the same keys."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

NAME = "ft_decode"


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query `[rows, heads, n, d]`, key and value `[rows, kv_heads, m, d]` to `[rows, n, heads, d]`.

    Under a mask, transformers would copy the keys and values of every row once for each query of a group (Ainslie et
    al. 2023, arXiv:2305.13245). For one new token a row, the queries of a group are rows of one product instead.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, heads, new, width = query.shape
    if new != 1 or heads == key.shape[1] or kwargs.get("position_bias") is not None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return found
    queries = query.reshape(rows, key.shape[1], -1, width)
    output = scaled_dot_product_attention(
        queries, key, value, attention_mask, scale=kwargs.get("scaling"), is_causal=False
    )
    return output.reshape(rows, 1, heads, -1), None


def install(model: Any) -> str | None:
    """Make `model` attend so; returns the attention that it had, None where it keeps it, for it has one of its own."""
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    from transformers.modeling_utils import AttentionInterface

    before: str = model.config._attn_implementation
    if before != "sdpa" or not model._supports_attention_backend:
        return None
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    return before
