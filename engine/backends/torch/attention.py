"""Causal attention of examples that lie end to end in one row, each alone.

No token can see another example because their products are never formed: a packed row costs what its examples cost
apart, and no mask is needed.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from engine.backends.torch.cpu_attention import CausalAttention

NAME = "ft_segments"
MASKED = ("doge", "llama4_text", "phimoe", "qwen2_moe")
"""Architectures that say by a mask alone which tokens are too far to be seen. All others tell their attention the
window as well, and need no mask here."""


class SegmentAttention:
    """The attention function given to transformers, with the lengths of the examples in the row that passes through."""

    def __init__(self) -> None:
        self.lengths: list[int] | None = None
        """None: rows hold one example each, with padding on the right, where causality hides it."""
        self.prefixes: list[int] | None = None
        """Of each example, how many first tokens of the one before it are its own first tokens too; None: of none."""

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """query `[rows, heads, n, d]`, key and value `[rows, kv_heads, n, d]` to `[rows, n, heads, d]`."""
        lengths = self.lengths or [query.shape[2]]
        prefixes = self.prefixes or [0] * len(lengths)
        longest = max(map(sum, zip(lengths, prefixes, strict=True)))
        windowed = sliding_window is not None and longest > sliding_window
        alike = query.shape[-1] == value.shape[-1]  # not in DeepSeek's latent attention
        if query.device.type == "cpu" and alike and not (dropout or windowed or softcap is not None):
            scale = scaling if scaling is not None else query.shape[-1] ** -0.5
            return CausalAttention.apply(query, key, value, lengths, prefixes, scale), None
        grouped = query.shape[1] != key.shape[1]
        # split, not slices: its backward is one concatenation, where each slice's would fill a whole row with zeros
        parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
        outputs: list[Tensor] = []
        before = query, key, value
        for (q, own_k, own_v), prefix in zip(parts, prefixes, strict=True):
            k, v = (
                torch.cat([other[:, :, :prefix], own], 2) if prefix else own
                for other, own in ((before[1], own_k), (before[2], own_v))
            )
            before = q, own_k, own_v
            band = _band(q.shape[2], prefix, sliding_window, q.device)
            if softcap is not None:
                output = _capped(q, k, v, band, softcap, scaling)
            else:
                output = scaled_dot_product_attention(
                    q, k, v, band, dropout, is_causal=band is None, scale=scaling, enable_gqa=grouped
                )
            outputs.append(output.transpose(1, 2))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1), None

    def install(self, model: Any) -> None:
        """Make `model` attend through this object; masks are not built, for the lengths say all."""
        from transformers.masking_utils import AttentionMaskInterface
        from transformers.modeling_utils import AttentionInterface

        AttentionInterface.register(NAME, self)
        AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
        model.set_attn_implementation(NAME)


def hides_by_mask(config: Any) -> bool:
    """Return True where a model with this config needs transformers' own masks: rows may be longer than it looks."""
    return config.model_type in MASKED and (
        bool(getattr(config, "sliding_window", None)) or looks_in_chunks(config)
    )


def looks_in_chunks(config: Any) -> bool:
    """Return True where tokens see their own chunk alone (Llama 4).

    Chunks are counted from the beginning of the row: an example in a packed row would be cut elsewhere than alone.
    """
    return getattr(config, "attention_chunk_size", None) is not None


def _band(length: int, prefix: int, window: int | None, device: torch.device) -> Tensor | None:
    """Mask of what each of `length` tokens sees of the `prefix` in front of them and of themselves, `[length, prefix +
    length]`; None where causality alone says it."""
    size = prefix + length
    windowed = window is not None and size > window
    if not prefix and not windowed:
        return None
    position = torch.arange(size, device=device)
    distance = position[prefix:, None] - position
    return (distance >= 0) & (distance < window) if windowed else distance >= 0


def _capped(
    q: Tensor, k: Tensor, v: Tensor, band: Tensor | None, softcap: float, scaling: float | None
) -> Tensor:
    """Attention with scores held within a soft cap (Gemma 2, arXiv:2408.00118), which torch's own does not know."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(2, 3) * (scaling if scaling is not None else q.shape[-1] ** -0.5)
    if band is None:
        band = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    capped = torch.tanh(scores / softcap).mul(softcap).masked_fill(~band, -torch.inf)
    return capped.softmax(-1) @ v
